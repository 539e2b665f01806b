import { DataError } from '../errors'

/** A golden array: flat values, row-major. */
export interface GoldenArray {
  shape: number[]
  data: number[]
}

/** Absolute and relative tolerance: |actual − expected| ≤ abs + rel·|expected|. */
export interface Tolerance {
  abs: number
  rel: number
}

/** One case of a golden file: dispatch on `fn`. */
export interface GoldenCase {
  fn: string
  name: string
  describe?: string
  inputs: Record<string, unknown>
  outputs: Record<string, unknown>
  tolerance: Tolerance
  tolerance_float64?: Tolerance
  optional?: string[]
  indexed?: string[]
  informational?: string[]
}

interface FileSystem {
  existsSync(path: string): boolean
  readdirSync(path: string): string[]
  readFileSync(path: string, encoding: 'utf8'): string
}

function node<T>(name: string): T {
  const process = (globalThis as { process?: { getBuiltinModule?: (id: string) => unknown } }).process
  const found = process?.getBuiltinModule?.(name)
  if (found === undefined) throw new DataError(`golden files are read from disk: this needs Node 20.19 or newer (${name} is missing)`)
  return found as T
}

/**
 * The golden cases of a paper: from `folder`, or from the folder `BPF_GOLDEN_DIR` names, so that other inputs for the
 * same functions run without changing code.
 *
 * @param folder - `new URL('../test/golden/', import.meta.url)`
 * @param prefix - the paper's slug such as `60-h-calibration`; in `BPF_GOLDEN_DIR` all files of that paper's number
 * @returns the cases of all files found; empty when `BPF_GOLDEN_DIR` has none for this paper
 * @throws DataError when the package's own golden file is missing
 */
export function goldenCases(folder: URL, prefix: string): GoldenCase[] {
  const fs = node<FileSystem>('node:fs')
  const { fileURLToPath } = node<{ fileURLToPath(url: URL): string }>('node:url')
  const { join } = node<{ join(...parts: string[]): string }>('node:path')
  const env = (globalThis as { process?: { env: Record<string, string | undefined> } }).process?.env
  const replacement = env?.BPF_GOLDEN_DIR
  const dir = replacement || fileURLToPath(folder)
  const number = prefix.slice(0, prefix.indexOf('-') + 1)
  const files = fs.existsSync(dir)
    ? fs
        .readdirSync(dir)
        .filter((name) => name.startsWith(number) && name.endsWith('.json'))
        .sort()
    : []
  if (files.length === 0 && !replacement) throw new DataError(`no golden file ${prefix}.json in ${dir}`)
  return files.flatMap((name) => (JSON.parse(fs.readFileSync(join(dir, name), 'utf8')) as { cases: GoldenCase[] }).cases)
}

/** Whether a golden value is an array. */
export function isGoldenArray(value: unknown): value is GoldenArray {
  return typeof value === 'object' && value !== null && 'shape' in value && 'data' in value
}

/** A golden input or output that must be an array. @throws DataError when it is not there or something else */
export function goldenArray(record: Record<string, unknown>, name: string): GoldenArray {
  const value = record[name]
  if (!isGoldenArray(value)) throw new DataError(`golden case: '${name}' must be an array { shape, data }`)
  return value
}

/**
 * Where two arrays differ by more than a tolerance.
 *
 * @returns undefined when they agree, else a sentence with the worst place
 */
export function mismatch(actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance: Tolerance): string | undefined {
  if (actual.length !== expected.length) return `length ${actual.length}, expected ${expected.length}`
  let worst = 0
  let at = -1
  for (let i = 0; i < expected.length; i++) {
    const difference = Math.abs(actual[i] - expected[i])
    const excess = difference / (tolerance.abs + tolerance.rel * Math.abs(expected[i]))
    // Infinities and NaN equal themselves, and −0 is 0.
    const isSame = actual[i] === expected[i] || Object.is(actual[i], expected[i])
    if (!(excess <= Math.max(worst, 1)) && !isSame) {
      worst = Number.isNaN(excess) ? Infinity : excess
      at = i
    }
  }
  return at === -1 ? undefined : `[${at}] is ${actual[at]}, expected ${expected[at]} (${worst.toPrecision(3)} × the tolerance)`
}

/** The float32 tolerance of golden tests: 2e-4 of the output's largest value. */
export function float32Tolerance(expected: ArrayLike<number>): Tolerance {
  let largest = 0
  for (let i = 0; i < expected.length; i++) largest = Math.max(largest, Math.abs(expected[i]))
  return { abs: 2e-4 * largest, rel: 0 }
}
