/**
 * Reliability diagrams (DeGroot, Fienberg 1983; Niculescu-Mizil, Caruana 2005): mean confidence against accuracy in bins.
 */
import { OptionError } from '@bpf/core'
import { readLabels, type LabelsInput } from '@bpf/core/data'
import { equalMassBins } from './shared/equal-mass'
import { positiveInteger } from './shared/calibrator'
import { argMaxOfRow, forEachBlock, openLogits, openProbabilities, softmaxRows, type Rows } from './shared/rows'
import { lowerBound } from './shared/sort'

/** Options of {@link reliabilityDiagram}. */
export interface ReliabilityDiagramOptions {
  /** Number of bins. Default 15. */
  bins?: number
  /** Bins (lo, hi] of equal width, or of equal numbers of examples. Default 'equalWidth'. */
  binning?: 'equalWidth' | 'equalMass'
  /** What the rows hold. Default 'probabilities'. */
  input?: 'probabilities' | 'logits'
  /** Probability of one class against whether it occurred, in place of the top label's. */
  classIndex?: number
  /** Number of classes, needed for typed arrays. */
  classes?: number
}

/** One bin. */
export interface ReliabilityBin {
  readonly lower: number
  readonly upper: number
  readonly count: number
  /** Mean predicted probability; null in an empty bin. */
  readonly confidence: number | null
  /** Share of events that occurred; null in an empty bin. */
  readonly accuracy: number | null
  /** accuracy − confidence: negative where over-confident; null in an empty bin. */
  readonly gap: number | null
  /** 95 % Wilson interval of the accuracy; null in an empty bin. */
  readonly interval: readonly [number, number] | null
}

/** Data of a reliability diagram. */
export interface ReliabilityDiagram {
  readonly bins: readonly ReliabilityBin[]
  readonly count: number
  readonly confidence: number
  readonly accuracy: number
  /** Σ count/N |gap| over the bins. */
  readonly error: number
}

/** Wilson's score interval for `hits` of `count`, 95 %. */
function wilson(hits: number, count: number): [number, number] {
  const z = 1.959963984540054
  const share = hits / count
  const centre = (share + (z * z) / (2 * count)) / (1 + (z * z) / count)
  const half = (z / (1 + (z * z) / count)) * Math.sqrt((share * (1 - share)) / count + (z * z) / (4 * count * count))
  return [Math.max(0, centre - half), Math.min(1, centre + half)]
}

/**
 * Data of a reliability diagram, ready to plot.
 *
 * @param predictions - [N, K] probabilities or logits
 * @param labels - [N] class indices
 * @throws ShapeError, DataError for malformed input; OptionError for bins below 1 or a class that isn't there
 */
export function reliabilityDiagram(predictions: Rows, labels: LabelsInput, options: ReliabilityDiagramOptions = {}): ReliabilityDiagram {
  const { bins = 15, binning = 'equalWidth', input = 'probabilities', classIndex } = options
  positiveInteger(bins, 'bins')
  const source =
    input === 'logits'
      ? openLogits(predictions, 'predictions', options.classes, () => undefined)
      : openProbabilities(predictions, 'predictions', options.classes)
  const { rows, classes } = source
  if (classIndex !== undefined && !(Number.isInteger(classIndex) && classIndex >= 0 && classIndex < classes)) {
    throw new OptionError(`classIndex: expected 0 to ${classes - 1}, got ${classIndex}`)
  }
  const y = readLabels(labels, 'labels', { classes: Math.max(1, classes), length: rows })
  const p = new Float64Array(rows)
  const o = new Uint8Array(rows)
  forEachBlock(source, (block, start, count) => {
    if (input === 'logits') softmaxRows(block, count, classes)
    for (let row = 0; row < count; row++) {
      const k = classIndex ?? argMaxOfRow(block, row * classes, classes)
      p[start + row] = block[row * classes + k]
      o[start + row] = y[start + row] === k ? 1 : 0
    }
  })
  return summarise(rows, binning === 'equalMass' ? equalMass(p, o, bins) : equalWidth(p, o, bins))
}

interface Sums {
  edges: Float64Array
  counts: Float64Array
  hits: Float64Array
  sums: Float64Array
}

function equalWidth(p: Float64Array, o: Uint8Array, bins: number): Sums {
  const edges = Float64Array.from({ length: bins + 1 }, (_, b) => b / bins)
  const inner = edges.slice(1, -1)
  const [counts, hits, sums] = [new Float64Array(bins), new Float64Array(bins), new Float64Array(bins)]
  for (let i = 0; i < p.length; i++) {
    const bin = lowerBound(inner, p[i])
    counts[bin]++
    hits[bin] += o[i]
    sums[bin] += p[i]
  }
  return { edges, counts, hits, sums }
}

function equalMass(p: Float64Array, o: Uint8Array, bins: number): Sums {
  return equalMassBins(p, o, Math.max(1, Math.min(bins, p.length)))
}

function summarise(total: number, { edges, counts, hits, sums }: Sums): ReliabilityDiagram {
  const bins = Array.from(counts, (count, b): ReliabilityBin => {
    const bounds = { lower: edges[b], upper: edges[b + 1], count }
    if (count === 0) return { ...bounds, confidence: null, accuracy: null, gap: null, interval: null }
    const [confidence, accuracy] = [sums[b] / count, hits[b] / count]
    return { ...bounds, confidence, accuracy, gap: accuracy - confidence, interval: wilson(hits[b], count) }
  })
  const sumOf = (values: Float64Array): number => values.reduce((sum, value) => sum + value, 0)
  const [confidence, accuracy] = total === 0 ? [0, 0] : [sumOf(sums) / total, sumOf(hits) / total]
  const error = total === 0 ? 0 : counts.reduce((sum, _, b) => sum + Math.abs(hits[b] - sums[b]), 0) / total
  return { bins, count: total, confidence, accuracy, error }
}
