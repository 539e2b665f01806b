/**
 * Gupta, Rahimi, Ajanthan, Mensink, Sminchisescu, Hartley: "Calibration of Neural Networks using Splines", ICLR 2021,
 * arXiv 2006.12800.
 *
 * The cumulative difference between hits and confidences, in order of confidence, is fitted by a smooth spline H; its
 * derivative is what to add to the confidence. Reference code: kartikgupta-at-anu/spline-calibration.
 */
import { DataError, OptionError, type Json } from '@bpf/core'
import type { LabelsInput } from '@bpf/core/data'
import { matrix, solve, tridiagonalSolve } from '@bpf/core/linalg'
import {
  breathe,
  makeCalibrator,
  openFitData,
  positiveInteger,
  type CalibratorState,
  type FitCalibratorOptions,
  type FitData,
} from './shared/calibrator'
import { argMaxOfRow, forEachBlock, openLogits, softmaxRows, type BlockTransform, type Rows } from './shared/rows'
import { clip01, linearMap, vectors, type ScalarMap, type TopLabelCalibrator } from './shared/scalar-maps'
import { gather, stableOrder } from './shared/sort'

/** Options of {@link fitSpline}. */
export interface SplineOptions extends FitCalibratorOptions {
  /** Number of uniform knots. Default 6. */
  knots?: number
  /** Recalibrate the so many largest probabilities of a row, each rank with its own spline. Default 1. */
  ranks?: number
}

/** Calibrator of the top label (and further ranks) by splines. */
export interface SplineCalibrator extends TopLabelCalibrator {
  readonly ranks: number
  /** The spline's recalibrated confidences before they are clipped to [0, 1]. @param rank - 0 for the top label */
  recalibrate(confidences: ArrayLike<number>, rank?: number): Float64Array
}

/**
 * Second derivatives at the knots of a cubic spline with parabolic run-out (M_0 = M_1, M_{n−1} = M_{n−2}) as a matrix on the
 * values at the knots: interior rows M_{i−1} + 4 M_i + M_{i+1} = 6/h² (a_{i−1} − 2 a_i + a_{i+1}), 5 in the corners.
 */
function secondDerivatives(knots: number): Float64Array[] {
  const inner = knots - 2
  const spacing = 1 / (knots - 1)
  const ones = new Float64Array(Math.max(0, inner - 1)).fill(1)
  const diagonal = Float64Array.from({ length: inner }, (_, i) => 4 + (i === 0 ? 1 : 0) + (i === inner - 1 ? 1 : 0))
  const right = Array.from({ length: inner }, (_, i) =>
    Array.from({ length: knots }, (_, j) => (j === i || j === i + 2 ? 1 : j === i + 1 ? -2 : 0) * (6 / spacing ** 2)),
  )
  const solved = tridiagonalSolve(ones, diagonal, ones, matrix(right))
  const row = (i: number): Float64Array => Float64Array.from(solved.data.subarray(i * knots, (i + 1) * knots))
  return [row(0), ...Array.from({ length: inner }, (_, i) => row(i)), row(inner - 1)]
}

/** Value (or derivative) of the spline at x in [0, 1] as a linear form on the knots' values. */
function splineForm(x: number, second: readonly Float64Array[], derivative: boolean): Float64Array {
  const knots = second.length
  const h = 1 / (knots - 1)
  const left = Math.min(knots - 2, Math.max(0, Math.floor(x / h)))
  const t = x - left * h
  const u = h - t
  const form = new Float64Array(knots)
  const [m0, m1] = [second[left], second[left + 1]]
  for (let k = 0; k < knots; k++) {
    form[k] = derivative
      ? (-m0[k] * u * u + m1[k] * t * t) / (2 * h) + ((m0[k] - m1[k]) * h) / 6
      : (m0[k] * u * u * u + m1[k] * t * t * t) / (6 * h) - (h / 6) * (m0[k] * u + m1[k] * t)
  }
  form[left] += derivative ? -1 / h : u / h
  form[left + 1] += derivative ? 1 / h : t / h
  return form
}

/** Recalibrated confidence at each sorted confidence: c_i + H'(x_i), x_i = i/(N − 1). Equal confidences are averaged. */
function fitOne(confidence: Float64Array, hit: Uint8Array, knots: number): { x: Float64Array; y: Float64Array } {
  const order = stableOrder(confidence)
  const c = gather(confidence, order)
  const n = c.length
  const second = secondDerivatives(knots)
  const normal = new Float64Array(knots * knots)
  const target = new Float64Array(knots)
  let cumulative = 0
  for (let i = 0; i < n; i++) {
    cumulative += (hit[order[i]] - c[i]) / n
    const form = splineForm(n === 1 ? 0 : i / (n - 1), second, false)
    for (let a = 0; a < knots; a++) {
      target[a] += form[a] * cumulative
      for (let b = 0; b < knots; b++) normal[a * knots + b] += form[a] * form[b]
    }
  }
  const values = solve({ rows: knots, cols: knots, data: normal }, target)
  const x: number[] = []
  const y: number[] = []
  for (let i = 0; i < n;) {
    const from = i
    let sum = 0
    for (; i < n && c[i] === c[from]; i++)
      sum += splineForm(n === 1 ? 0 : i / (n - 1), second, true).reduce((s, f, k) => s + f * values[k], 0)
    x.push(c[from])
    y.push(c[from] + sum / (i - from))
  }
  return { x: Float64Array.from(x), y: Float64Array.from(y) }
}

/** Indices of the `ranks` largest entries of a row, largest first, ties by index. */
function topIndices(block: Float64Array, at: number, classes: number, ranks: number): number[] {
  if (ranks === 1) return [argMaxOfRow(block, at, classes)]
  const indices = Array.from({ length: classes }, (_, k) => k)
  return indices.sort((a, b) => block[at + b] - block[at + a] || a - b).slice(0, ranks)
}

/** For each rank: the probability of the label at that rank, and whether it was right. */
function rankedConfidences(data: FitData, ranks: number): { confidence: Float64Array; hit: Uint8Array }[] {
  const ranked = Array.from({ length: ranks }, () => ({ confidence: new Float64Array(data.rows), hit: new Uint8Array(data.rows) }))
  forEachBlock(data, (block, start, count) => {
    softmaxRows(block, count, data.classes)
    for (let row = 0; row < count; row++) {
      const at = row * data.classes
      topIndices(block, at, data.classes, ranks).forEach((k, rank) => {
        ranked[rank].confidence[start + row] = block[at + k]
        ranked[rank].hit[start + row] = k === data.labels[start + row] ? 1 : 0
      })
    }
  })
  return ranked
}

/**
 * Fits spline recalibration.
 *
 * @param logits - [N, K] of held-out examples, N at least the number of knots
 * @param labels - [N] class indices
 * @returns the calibrator; the top label may change where its new probability is small
 * @throws ShapeError, DataError for malformed or too little input; OptionError for knots below 4 or ranks above K
 * @see arXiv 2006.12800
 */
export async function fitSpline(logits: Rows, labels: LabelsInput, options: SplineOptions = {}): Promise<SplineCalibrator> {
  const { knots = 6, ranks = 1, signal, onProgress } = options
  if (positiveInteger(knots, 'knots') < 4) throw new OptionError(`knots: a cubic spline with run-out needs at least 4, got ${knots}`)
  const data = openFitData(logits, labels, options)
  if (positiveInteger(ranks, 'ranks') > data.classes)
    throw new OptionError(`ranks: expected at most ${data.classes} (classes), got ${ranks}`)
  if (data.rows < knots) throw new DataError(`logits: a spline of ${knots} knots needs at least as many rows, got ${data.rows}`)
  await breathe(signal)
  const maps = rankedConfidences(data, ranks).map(({ confidence, hit }, rank) => {
    signal?.throwIfAborted()
    onProgress?.({ done: rank, total: ranks })
    return fitOne(confidence, hit, knots)
  })
  return makeSpline(data.classes, maps, data.warnings)
}

function makeSpline(classes: number, maps: readonly { x: Float64Array; y: Float64Array }[], warnings: readonly string[]): SplineCalibrator {
  const functions = maps.map(({ x, y }) => linearMap(x, y))
  const calibrator = makeCalibrator({
    kind: 'spline',
    classes,
    parameters: { maps },
    transform: rankTransform(functions, classes),
    warnings,
  })
  const confidence = (logits: Rows): Float64Array => {
    const source = openLogits(logits, 'logits', classes, () => undefined)
    const result = new Float64Array(source.rows)
    forEachBlock(source, (block, start, count) => {
      softmaxRows(block, count, classes)
      for (let row = 0; row < count; row++)
        result[start + row] = clip01(functions[0](block[row * classes + argMaxOfRow(block, row * classes, classes)]))
    })
    return result
  }
  const recalibrate = (confidences: ArrayLike<number>, rank = 0): Float64Array => {
    if (functions[rank] === undefined) throw new OptionError(`rank: expected 0 to ${functions.length - 1}, got ${rank}`)
    return Float64Array.from(confidences, functions[rank])
  }
  return { ...calibrator, ranks: maps.length, confidence, recalibrate }
}

/** The recalibrated ranks get their new values (scaled down where they exceed 1 together), the others share the rest. */
function rankTransform(maps: readonly ScalarMap[], classes: number): BlockTransform {
  return (block, rows) => {
    softmaxRows(block, rows, classes)
    for (let row = 0, at = 0; row < rows; row++, at += classes) {
      const top = topIndices(block, at, classes, maps.length)
      const next = top.map((k, rank) => clip01(maps[rank](block[at + k])))
      const sum = next.reduce((total, q) => total + q, 0)
      let rest = 0
      for (let i = at; i < at + classes; i++) rest += block[i]
      for (const k of top) rest -= block[at + k]
      const all = top.length === classes
      const shrink = sum > 1 || all ? 1 / Math.max(sum, 1e-300) : 1
      const left = Math.max(0, 1 - sum * shrink)
      for (let i = at; i < at + classes; i++) block[i] = rest > 1e-300 ? (block[i] / rest) * left : all ? 0 : left / (classes - top.length)
      top.forEach((k, rank) => (block[at + k] = next[rank] * shrink))
    }
  }
}

/** A saved spline calibrator. @throws DataError */
export function loadSpline(state: CalibratorState): SplineCalibrator {
  const { maps } = state.parameters
  if (!Array.isArray(maps) || maps.length === 0) throw new DataError("calibrator state 'spline': parameters.maps should be a list")
  return makeSpline(
    state.classes,
    maps.map((map: Json) => vectors(map, 'spline', ['x', 'y'])),
    [],
  )
}
