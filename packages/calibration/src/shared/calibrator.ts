import { DataError, OptionError, ShapeError, type Json } from '@bpf/core'
import { readLabels, type LabelsInput } from '@bpf/core/data'
import type * as tf from '@tensorflow/tfjs-core'
import { mapRows, openLogits, type BlockTransform, type OnWarning, type RowData, type Rows } from './rows'

/** Options of every fit function. */
export interface FitCalibratorOptions {
  /** Number of classes K; needed when the logits are a typed array. */
  classes?: number
  /** Told of oddities of the data as they are found; they are also in the result's `warnings`. */
  onWarning?: OnWarning
  /** Stops a long fit: it then rejects with the signal's reason. */
  signal?: AbortSignal
  /** Told how far a long fit is. */
  onProgress?: (progress: { done: number; total: number }) => void
}

/** Options of {@link Calibrator.apply}. */
export interface ApplyOptions {
  /** Told when logits of minus infinity were clipped. */
  onWarning?: OnWarning
}

/** Probabilities come in the form of the logits: tensor, nested rows, or a typed array of the same class. */
export interface ApplyCalibrator {
  (logits: tf.Tensor, options?: ApplyOptions): tf.Tensor2D
  (logits: Float32Array, options?: ApplyOptions): Float32Array
  (logits: Float64Array, options?: ApplyOptions): Float64Array
  (logits: readonly (readonly number[])[], options?: ApplyOptions): number[][]
  (logits: Rows, options?: ApplyOptions): Rows
}

/** A fitted calibrator as plain data: JSON, and Float64Array for parameters. `loadCalibrator` turns it back. */
export interface CalibratorState {
  readonly kind: string
  readonly version: 1
  readonly classes: number
  readonly parameters: { readonly [name: string]: Json }
}

/** A fitted recalibration map. */
export interface Calibrator {
  /** Which method: the `kind` of its saved state. */
  readonly kind: string
  /** Number of classes K it was fitted on. */
  readonly classes: number
  /** What was odd about the calibration data. */
  readonly warnings: readonly string[]
  /**
   * Maps logits [m, K] to calibrated probabilities [m, K], in row blocks.
   *
   * @throws ShapeError for another number of classes, DataError for NaN or plus infinity
   */
  readonly apply: ApplyCalibrator
  /** The calibrator as plain data. */
  save(): CalibratorState
}

/** Calibration data, checked. */
export interface FitData extends RowData {
  readonly labels: Int32Array
  /** Number of examples of each class, [K]. */
  readonly counts: Int32Array
  readonly warnings: string[]
  readonly warn: OnWarning
}

/**
 * Checks and opens the arguments that every fit function has.
 *
 * @throws ShapeError, DataError, OptionError naming what is wrong with them
 */
export function openFitData(logits: Rows, labels: LabelsInput, options: FitCalibratorOptions): FitData {
  const { classes, onWarning } = options
  if (classes !== undefined && (!Number.isInteger(classes) || classes < 2)) {
    throw new OptionError(`classes: expected an integer of at least 2, got ${classes}`)
  }
  const warnings: string[] = []
  const warn: OnWarning = (message) => {
    warnings.push(message)
    onWarning?.(message)
  }
  const source = openLogits(logits, 'logits', classes, warn)
  if (source.rows === 0) throw new DataError('logits: no rows; calibration needs held-out examples')
  const read = readLabels(labels, 'labels', { classes: source.classes, length: source.rows })
  const counts = new Int32Array(source.classes)
  for (const label of read) counts[label]++
  warnAbsent(counts, warn)
  return { ...source, labels: read, counts, warnings, warn }
}

function warnAbsent(counts: Int32Array, warn: OnWarning): void {
  const absent = [...counts.keys()].filter((k) => counts[k] === 0)
  if (absent.length === 0) return
  const list = absent.slice(0, 5).join(', ') + (absent.length > 5 ? ', …' : '')
  warn(
    `labels: ${absent.length === 1 ? `class ${list} does` : `${absent.length} classes (${list}) do`} not occur; what is fitted for each class separately is undefined there`,
  )
}

/** What a method provides to become a {@link Calibrator}. */
export interface CalibratorDefinition {
  kind: string
  classes: number
  parameters: { readonly [name: string]: Json }
  transform: BlockTransform
  warnings?: readonly string[]
}

/** Wraps a block transform: input forms, checks, output forms, saving. */
export function makeCalibrator({ kind, classes, parameters, transform, warnings = [] }: CalibratorDefinition): Calibrator {
  const apply = (logits: Rows, options: ApplyOptions = {}): Rows => {
    const source = openLogits(logits, 'logits', ArrayBuffer.isView(logits) ? classes : undefined, options.onWarning ?? (() => undefined))
    if (source.classes !== classes && !(source.rows === 0 && Array.isArray(logits))) {
      throw new ShapeError(
        `logits: the calibrator was fitted on ${classes} classes, got ${source.classes} columns; fit one for these classes`,
      )
    }
    return mapRows(logits, { ...source, classes }, transform)
  }
  return { kind, classes, warnings, apply: apply as ApplyCalibrator, save: () => ({ kind, version: 1, classes, parameters }) }
}

/** Lets the event loop turn, so that long fits leave timers, signals and progress alive. @throws the signal's reason */
export async function breathe(signal: AbortSignal | undefined): Promise<void> {
  await new Promise<void>((resolve) => setTimeout(resolve, 0))
  signal?.throwIfAborted()
}

/** A parameter vector from a saved state; JSON may have turned the Float64Array into a list. @throws DataError */
export function savedVector(state: CalibratorState, name: string, length?: number): Float64Array {
  const value = state.parameters[name]
  if (!(value instanceof Float64Array) && !(Array.isArray(value) && value.every((x) => typeof x === 'number'))) {
    throw new DataError(`calibrator state '${state.kind}': parameters.${name} should be a Float64Array or a list of numbers`)
  }
  const vector = Float64Array.from(value as ArrayLike<number>)
  if (length !== undefined && vector.length !== length) {
    throw new DataError(`calibrator state '${state.kind}': parameters.${name} should have ${length} values, got ${vector.length}`)
  }
  return vector
}

/** A number from a saved state. @throws DataError */
export function savedNumber(state: CalibratorState, name: string): number {
  const value = state.parameters[name]
  if (typeof value !== 'number') throw new DataError(`calibrator state '${state.kind}': parameters.${name} should be a number`)
  return value
}

/** One of some words from a saved state. @throws DataError */
export function savedWord<Word extends string>(state: CalibratorState, name: string, words: readonly Word[]): Word {
  const value = state.parameters[name]
  if (typeof value !== 'string' || !words.includes(value as Word)) {
    throw new DataError(`calibrator state '${state.kind}': parameters.${name} should be one of ${words.join(', ')}`)
  }
  return value as Word
}

/** Checks an option that must be a positive integer. @throws OptionError */
export function positiveInteger(value: number, name: string): number {
  if (!Number.isInteger(value) || value < 1) throw new OptionError(`${name}: expected an integer of at least 1, got ${value}`)
  return value
}
