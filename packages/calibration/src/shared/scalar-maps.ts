import { DataError, OptionError, type Json } from '@bpf/core'
import type { LabelsInput } from '@bpf/core/data'
import {
  breathe,
  makeCalibrator,
  openFitData,
  savedWord,
  type Calibrator,
  type CalibratorState,
  type FitCalibratorOptions,
  type FitData,
} from './calibrator'
import { argMaxOfRow, forEachBlock, forEachColumn, openLogits, softmaxRows, type BlockTransform, type Rows } from './rows'
import { lowerBound, upperBound } from './sort'

/** A function of one probability. */
export type ScalarMap = (p: number) => number

/**
 * Where a function of one probability is used: on the top label's probability alone (the rest of the row shares what is
 * left in proportion), or on each class's probability with its own function (rows are normalised after).
 */
export type BinaryMode = 'topLabel' | 'oneVsRest'

/** A method for binary events: fits plain data to probabilities and outcomes, and turns the data into a function. */
export interface ScalarMethod {
  readonly kind: string
  fit(p: Float64Array, o: Uint8Array): Json
  map(fitted: Json): ScalarMap
}

/** Confidences and hits of the top label. */
export function topLabel(data: FitData): { confidence: Float64Array; hit: Uint8Array } {
  const confidence = new Float64Array(data.rows)
  const hit = new Uint8Array(data.rows)
  forEachBlock(data, (block, start, count) => {
    softmaxRows(block, count, data.classes)
    for (let row = 0; row < count; row++) {
      const top = argMaxOfRow(block, row * data.classes, data.classes)
      confidence[start + row] = block[row * data.classes + top]
      hit[start + row] = top === data.labels[start + row] ? 1 : 0
    }
  })
  return { confidence, hit }
}

/** A calibrator of the top label's confidence. */
export interface TopLabelCalibrator extends Calibrator {
  /** Calibrated probability that the top label of each row is right, [m], clipped to [0, 1]. */
  confidence(logits: Rows): Float64Array
}

/** Calibrator made of one function for the top label, or one for each class. */
export interface ScalarMapsCalibrator extends TopLabelCalibrator {
  readonly mode: BinaryMode
}

/** Fits a binary method to the top label, or to each class against the rest. */
export async function fitScalarMaps(
  method: ScalarMethod,
  logits: Rows,
  labels: LabelsInput,
  options: FitCalibratorOptions & { mode?: BinaryMode },
): Promise<ScalarMapsCalibrator> {
  const { mode = 'topLabel', signal, onProgress } = options
  if (mode !== 'topLabel' && mode !== 'oneVsRest') throw new OptionError(`mode: expected 'topLabel' or 'oneVsRest', got '${String(mode)}'`)
  const data = openFitData(logits, labels, options)
  await breathe(signal)
  const maps: Json[] = []
  if (mode === 'topLabel') {
    const { confidence, hit } = topLabel(data)
    maps.push(method.fit(confidence, hit))
  } else {
    forEachColumn(
      data,
      (block, rows) => softmaxRows(block, rows, data.classes),
      (column, k) => {
        signal?.throwIfAborted()
        maps.push(
          method.fit(
            column,
            Uint8Array.from(data.labels, (label) => (label === k ? 1 : 0)),
          ),
        )
        onProgress?.({ done: k + 1, total: data.classes })
      },
    )
  }
  return makeScalarMaps(method, mode, data.classes, maps, data.warnings)
}

/** A saved calibrator of {@link fitScalarMaps}. @throws DataError */
export function loadScalarMaps(method: ScalarMethod, state: CalibratorState): ScalarMapsCalibrator {
  const mode = savedWord(state, 'mode', ['topLabel', 'oneVsRest'] as const)
  const { maps } = state.parameters
  const expected = mode === 'topLabel' ? 1 : state.classes
  if (!Array.isArray(maps) || maps.length !== expected) {
    throw new DataError(`calibrator state '${state.kind}': parameters.maps should be a list of ${expected}`)
  }
  return makeScalarMaps(method, mode, state.classes, maps as Json[], [])
}

function makeScalarMaps(
  method: ScalarMethod,
  mode: BinaryMode,
  classes: number,
  maps: readonly Json[],
  warnings: readonly string[],
): ScalarMapsCalibrator {
  const functions = maps.map((fitted) => method.map(fitted))
  const transform: BlockTransform = mode === 'topLabel' ? topLabelTransform(functions[0], classes) : oneVsRestTransform(functions, classes)
  const calibrator = makeCalibrator({ kind: method.kind, classes, parameters: { mode, maps }, transform, warnings })
  return {
    ...calibrator,
    mode,
    confidence: (logits) => topConfidence(logits, classes, mode === 'topLabel' ? functions[0] : undefined, transform),
  }
}

/** Confidence of the top label before any redistribution, so that it may fall below another class's. */
function topConfidence(logits: Rows, classes: number, map: ScalarMap | undefined, transform: BlockTransform): Float64Array {
  const source = openLogits(logits, 'logits', classes, () => undefined)
  const confidence = new Float64Array(source.rows)
  forEachBlock(source, (block, start, count) => {
    const tops = Int32Array.from({ length: count }, (_, row) => argMaxOfRow(block, row * classes, classes))
    if (map === undefined) transform(block, count)
    else softmaxRows(block, count, classes)
    for (let row = 0; row < count; row++) {
      const p = block[row * classes + tops[row]]
      confidence[start + row] = map === undefined ? p : clip01(map(p))
    }
  })
  return confidence
}

/** A value into [0, 1]. */
export function clip01(x: number): number {
  return x < 0 ? 0 : x > 1 ? 1 : x
}

/**
 * Logits to probabilities whose top entry is `map` of the softmax's; the other entries keep their proportions. The top
 * label may change where its new probability is small.
 */
export function topLabelTransform(map: ScalarMap, classes: number): BlockTransform {
  return (block, rows) => {
    softmaxRows(block, rows, classes)
    for (let row = 0, at = 0; row < rows; row++, at += classes) {
      const top = at + argMaxOfRow(block, at, classes)
      const q = clip01(map(block[top]))
      let rest = 0
      for (let i = at; i < at + classes; i++) if (i !== top) rest += block[i]
      for (let i = at; i < at + classes; i++) block[i] = rest > 0 ? (block[i] / rest) * (1 - q) : (1 - q) / (classes - 1)
      block[top] = q
    }
  }
}

/** Logits to probabilities: each class's own function of its softmax probability, rows normalised. */
function oneVsRestTransform(maps: readonly ScalarMap[], classes: number): BlockTransform {
  return (block, rows) => {
    softmaxRows(block, rows, classes)
    for (let row = 0, i = 0; row < rows; row++) for (let k = 0; k < classes; k++, i++) block[i] = Math.max(0, maps[k](block[i]))
    normaliseRows(block, rows, classes)
  }
}

/** Divides each row by its sum, in place; a row of zeros becomes uniform. */
export function normaliseRows(block: Float64Array, rows: number, classes: number): void {
  for (let row = 0, at = 0; row < rows; row++, at += classes) {
    let sum = 0
    for (let i = at; i < at + classes; i++) sum += block[i]
    for (let i = at; i < at + classes; i++) block[i] = sum > 0 ? block[i] / sum : 1 / classes
  }
}

/** Fitted vectors from plain data: lists where JSON turned a Float64Array into one. @throws DataError */
export function vectors<Name extends string>(fitted: Json, kind: string, names: readonly Name[]): Record<Name, Float64Array> {
  const record = fitted as { readonly [name: string]: Json } | null
  return Object.fromEntries(
    names.map((name) => {
      const value = record?.[name]
      if (!(value instanceof Float64Array) && !Array.isArray(value)) {
        throw new DataError(`calibrator state '${kind}': a map should have the vector ${name}`)
      }
      return [name, Float64Array.from(value as ArrayLike<number>)]
    }),
  ) as Record<Name, Float64Array>
}

/** A step function: values [B] of bins (lo, hi] between ascending inner edges [B − 1]. */
export function stepMap(edges: Float64Array, values: Float64Array): ScalarMap {
  return (p) => values[lowerBound(edges, p)]
}

/** Linear between knots, constant beyond them. @param x - ascending, distinct */
export function linearMap(x: Float64Array, y: Float64Array): ScalarMap {
  const last = x.length - 1
  return (p) => {
    if (p <= x[0]) return y[0]
    if (p >= x[last]) return y[last]
    const right = upperBound(x, p)
    const left = right - 1
    return y[left] + ((p - x[left]) / (x[right] - x[left])) * (y[right] - y[left])
  }
}
