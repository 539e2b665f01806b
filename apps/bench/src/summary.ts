import { BpfError } from '@bpf/core'
import type { PaperResults, PresetName, SeedResult, Summary } from './paper'

function summarise(each: readonly number[]): Summary {
  const mean = each.reduce((sum, value) => sum + value, 0) / each.length
  const squares = each.reduce((sum, value) => sum + (value - mean) ** 2, 0)
  return {
    mean,
    spread: each.length > 1 ? Math.sqrt(squares / (each.length - 1)) : 0,
    min: Math.min(...each),
    max: Math.max(...each),
    each,
  }
}

/** All seeds of one run, with their summaries. */
export function paperResults(preset: PresetName, seeds: readonly { seed: number; result: SeedResult }[]): PaperResults {
  const each = (name: string): number[] => seeds.flatMap(({ result }) => (name in result.values ? [result.values[name]] : []))
  const summary = (name: string): Summary => {
    const values = each(name)
    if (values.length > 0) return summarise(values)
    const known = [...new Set(seeds.flatMap(({ result }) => Object.keys(result.values)))].sort()
    throw new BpfError(`results: no seed measured '${name}'; measured were ${known.join(', ') || 'no values at all'}`)
  }
  return {
    preset,
    seeds,
    summary,
    mean: (name) => summary(name).mean,
    has: (name) => each(name).length > 0,
    series: (name) => seeds.flatMap(({ result }) => (result.series !== undefined && name in result.series ? [result.series[name]] : [])),
  }
}

/** Every scalar that some seed measured. */
export function allSummaries(results: PaperResults): Record<string, Summary> {
  const names = new Set(results.seeds.flatMap(({ result }) => Object.keys(result.values)))
  return Object.fromEntries([...names].sort().map((name) => [name, results.summary(name)]))
}
