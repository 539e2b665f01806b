import type { Key, Reporter } from '@bpf/core'
import type { TopLevelSpec } from 'vega-lite'
import type { DataAccess } from './data/access'

/** Size of a reproduction: seconds, minutes on a laptop, or the paper's own. */
export type PresetName = 'quick' | 'embedded' | 'full'

export const presetNames: readonly PresetName[] = ['quick', 'embedded', 'full']

/** One size of a reproduction. `settings` is the paper's own record: sample counts, epochs, widths. */
export interface Preset<Settings> {
  /** One sentence for `list` and the report: what runs, on which data. */
  description: string
  /** Seeds run unless the user asks for another number. */
  seeds: number
  /** What all seeds took when measured on two cores, in seconds; `start` plans its budget with it. */
  seconds: number
  settings: Settings
}

/** A measured or expected quantity: what the report shows, and the number behind it where there is one. */
export interface Quantity {
  text: string
  value?: number
}

/** The outcome of one claim. */
export interface Verdict {
  holds: boolean
  measured: Quantity
  /** The bound or the number that the paper (or its card) gives. */
  expected: Quantity
}

/** One statement of the paper that a run confirms or refutes. */
export interface Claim {
  /** Short and stable, kebab-case: `ece-against-ts`. */
  id: string
  /** One sentence that a reader who knows the field understands without the paper. */
  statement: string
  /** Presets in which the claim is checked. Default: all. */
  presets?: readonly PresetName[]
  /** The number the paper itself reports in its own setting, where it is known: shown beside ours, not checked. */
  reported?: string
  check(results: PaperResults): Verdict
}

/**
 * What is kept of a seed or a part of it: JSON with NaN and infinities, and typed arrays (logits, weights).
 * Record types must be declared with `type` to fit.
 */
export type Series =
  null | boolean | number | string | Float32Array | Float64Array | Int32Array | readonly Series[] | { readonly [key: string]: Series }

/** What one seed measured. It is stored as soon as the seed is done. */
export interface SeedResult {
  /** Scalars by name, `synthetic/ts/ece`: averaged over seeds and checked by claims. */
  values: Readonly<Record<string, number>>
  /** Anything figures need beside the scalars. */
  series?: Readonly<Record<string, Series>>
}

/** A scalar over seeds. `spread` is the sample standard deviation, 0 for one seed. */
export interface Summary {
  mean: number
  spread: number
  min: number
  max: number
  /** One value per seed that measured it, in the order of seeds. */
  each: readonly number[]
}

/** All seeds of a run, what claims, tables and figures are made from. */
export interface PaperResults {
  preset: PresetName
  seeds: readonly { seed: number; result: SeedResult }[]
  /** The summary of a scalar. @throws BpfError naming the scalars there are, when no seed measured it */
  summary(name: string): Summary
  /** Mean over seeds of a scalar. */
  mean(name: string): number
  /** Whether a seed measured this scalar. */
  has(name: string): boolean
  /** A series of every seed that has it. */
  series(name: string): readonly Series[]
}

/** A table cell: a number or text, or mean and spread over seeds. */
export type Cell = number | string | null | { mean: number; spread: number }

/** One column of a table. */
export interface Column {
  key: string
  label: string
  /** Digits after the point for numbers. Default 3. */
  digits?: number
  /** Which end is good: the best row is marked. */
  better?: 'lower' | 'higher'
}

/** A table of the report. */
export interface Table {
  id: string
  title: string
  columns: readonly Column[]
  rows: readonly Readonly<Record<string, Cell>>[]
  note?: string
}

/** A figure of the report. Leave colours, fonts and background to the theme unless they carry meaning. */
export interface Figure {
  id: string
  title: string
  /** What the reader should see in it: the caption, and the description for those who cannot see it. */
  caption: string
  spec: TopLevelSpec
}

/** A bar on the terminal, shown when the work takes more than two seconds. */
export interface ProgressBar {
  /** `done` of `total` units; `note` is shown behind the bar (`loss 0.123`). */
  update(done: number, note?: string): void
  stop(): void
}

/** What a paper's `run` is given, for one seed. */
export interface RunContext<Settings> {
  preset: PresetName
  settings: Settings
  /** Index of this seed, from 0. */
  seed: number
  /** Root of all randomness of this seed: the same seed gives the same numbers. */
  key: Key
  /** Only what claims read is wanted: leave out baselines and curves that nothing checks. */
  onlyClaims: boolean
  data: DataAccess
  /** Aborted on Ctrl-C. Long loops pass it on, or call `signal.throwIfAborted()` between steps and yield to the event loop. */
  signal: AbortSignal
  /** A bar for a loop of the paper's own. */
  progress(label: string, total: number): ProgressBar
  /** A reporter for `fit`: a bar, and every step's metrics into the metrics file. */
  reporter(label: string): Reporter
  /** Appends one row to `<out>/NN-slug/metrics.jsonl`; seed and preset are added. */
  log(row: Readonly<Record<string, number | string | boolean>>): void
  /**
   * A named part of the seed's work whose result is kept: a resumed run reads it instead of computing it again.
   * Make a part of what takes longer than some seconds; hand on what the rest needs (logits, not a model).
   */
  part<T extends Series>(name: string, compute: () => Promise<T>): Promise<T>
  /** A folder for checkpoints of a `fit` inside this seed; it lives until the seed is done. */
  checkpointFolder(name: string): string
}

/**
 * A reproduction: one file `papers/NN-slug.ts` that exports it as `paper`; or a comparison across papers, which has neither
 * number nor arXiv id: `comparisons/slug.ts`. Results depend on the preset and the seed only, never on the clock.
 */
export interface Paper<Settings = unknown> {
  number?: number
  /** The file's name without the number: `h-calibration`. */
  slug: string
  title: string
  /** `2506.17968` */
  arxiv?: string
  /** The package that implements it: `@bpf/calibration`. */
  package: string
  claims: readonly Claim[]
  presets: Readonly<Record<PresetName, Preset<Settings>>>
  /** Runs one seed. Called once for each, in order. */
  run(context: RunContext<Settings>): Promise<SeedResult>
  tables?(results: PaperResults): readonly Table[]
  figures?(results: PaperResults): readonly Figure[]
}
