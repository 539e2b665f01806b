/**
 * Which layers the helper of each hidden layer copies the architecture of: Ma et al. (ICLR 2024), section 3.2. Indices follow
 * the reference code: layers count from 0, and halves are rounded to even.
 */
import { OptionError } from '@bpf/core'
import { roundHalfToEven } from '@bpf/core/numerics'
import { schedule, type Schedule } from '@bpf/core/optim'

/**
 * Which layers after layer l the helper is modelled on: `uniform`, spread evenly up to the last layer; `sequential`, the ones
 * that follow directly; `repetitive`, layer l itself, again and again.
 */
export type LayerSelection = 'uniform' | 'sequential' | 'repetitive'

const selections: readonly LayerSelection[] = ['uniform', 'sequential', 'repetitive']

/** Options of {@link auxiliaryPlan}. */
export interface AuxiliaryPlanOptions {
  /** Depth d ≥ 1 of the first layer's helper. Default 2. */
  dMax?: number
  /** How far the depth falls towards the last layer, in [0, 1]: 0 keeps it at d, 1 lets it fall to 1. Default 0.5. */
  pyramidCoeff?: number
  /** Default 'uniform'. */
  selection?: LayerSelection
}

/** The helper of one hidden layer. */
export interface AuxiliaryRow {
  /** d_l, the depth asked for; fewer blocks where fewer layers follow. */
  depth: number
  /** The layers that the blocks are modelled on. */
  indices: number[]
  /** 2 once for each doubling of the width, on the first block after it. */
  strides: number[]
  /** Widths of the blocks. */
  outChannels: number[]
}

/** @throws OptionError unless widths never fall and their ratios are powers of two */
function checkWidths(widths: readonly number[]): void {
  if (widths.length < 2) throw new OptionError(`auxiliaryPlan: needs the widths of at least 2 layers, got ${widths.length}`)
  widths.forEach((width, i) => {
    const isCount = Number.isInteger(width) && width >= 1
    if (!isCount || (i > 0 && !Number.isInteger(Math.log2(width / widths[i - 1]))) || width < (widths[i - 1] ?? 0)) {
      throw new OptionError(
        `auxiliaryPlan: the auxiliary plan needs widths that double: positive integers, each the one before times 1, 2, 4, …; got [${widths.join(', ')}]`,
      )
    }
  })
}

/** d_l = max(1, round(d·(1 − ρ_l) + ρ_l)), ρ_l = l·coeff/(L − 2). */
function depthAt(l: number, layers: number, dMax: number, pyramidCoeff: number): number {
  if (layers === 2) return dMax
  const rho = (l * pyramidCoeff) / (layers - 2)
  return Math.max(1, roundHalfToEven(dMax * (1 - rho) + rho))
}

function selected(l: number, layers: number, depth: number, selection: LayerSelection): number[] {
  if (selection === 'repetitive') return Array.from({ length: depth }, () => l)
  const remaining = layers - 1 - l
  const following = (count: number): number[] => Array.from({ length: count }, (_, i) => l + 1 + i)
  if (depth >= remaining) return following(remaining)
  if (selection === 'sequential') return following(depth)
  return Array.from({ length: depth }, (_, i) => roundHalfToEven(l + (remaining / depth) * (i + 1)))
}

/** Where the blocks shrink the image: each doubling of the width is one stride of 2, at most one in a block. */
function stridesOf(width: number, outChannels: readonly number[]): number[] {
  let current = width
  let pending = 0
  return outChannels.map((next) => {
    pending += Math.log2(next / current)
    current = next
    if (pending < 1) return 1
    pending -= 1
    return 2
  })
}

/**
 * The helpers of all hidden layers: depth, layers they copy the architecture of, strides, widths.
 *
 * @param widths - w_0 … w_{L−1} of the network's layers
 * @returns one row for each of the layers 0 … L − 2
 * @throws OptionError for fewer than two widths, widths that don't double, or an option out of range
 *
 * @example
 * ```ts
 * import { auxiliaryPlan } from '@bpf/local'
 *
 * const [first] = auxiliaryPlan([16, 16, 32, 32, 64], { dMax: 2 })
 * // { depth: 2, indices: [2, 4], strides: [2, 2], outChannels: [32, 64] }
 * ```
 */
export function auxiliaryPlan(widths: readonly number[], options: AuxiliaryPlanOptions = {}): AuxiliaryRow[] {
  const { dMax = 2, pyramidCoeff = 0.5, selection = 'uniform' } = options
  checkWidths(widths)
  if (!Number.isInteger(dMax) || dMax < 1) throw new OptionError(`auxiliaryPlan: dMax must be an integer of at least 1, got ${dMax}`)
  if (!(pyramidCoeff >= 0 && pyramidCoeff <= 1)) throw new OptionError(`auxiliaryPlan: pyramidCoeff must be in [0, 1], got ${pyramidCoeff}`)
  if (!selections.includes(selection)) {
    throw new OptionError(`auxiliaryPlan: selection must be one of ${selections.join(', ')}, got '${String(selection)}'`)
  }
  return widths.slice(0, -1).map((width, l) => {
    const depth = depthAt(l, widths.length, dMax, pyramidCoeff)
    const indices = selected(l, widths.length, depth, selection)
    const outChannels = indices.map((j) => widths[j])
    return { depth, indices, strides: stridesOf(width, outChannels), outChannels }
  })
}

/**
 * The paper's learning rate by epoch e = 1 … E: base(e) = ½·η·(1 + cos(π·e/E)), and up to epoch 10 the blend
 * base(e)·(e − 1)/10 + 0.01·(11 − e)/10. The last epoch runs at rate 0.
 *
 * @param options.learningRate - η. 0.8 for batches of 1,024, 0.1 for batches of 128.
 * @param options.epochs - E
 * @param options.stepsPerEpoch - default 1: a step of the schedule is an epoch
 * @throws OptionError for a count below 1
 */
export function augLocalSchedule(options: { learningRate: number; epochs: number; stepsPerEpoch?: number }): Schedule {
  const { learningRate, epochs, stepsPerEpoch = 1 } = options
  for (const [name, value] of Object.entries({ epochs, stepsPerEpoch })) {
    if (!Number.isInteger(value) || value < 1) throw new OptionError(`augLocalSchedule: ${name} must be a positive integer, got ${value}`)
  }
  return schedule((step, math) => {
    const epoch = math.min(math.add(math.floor(math.div(step, stepsPerEpoch)), 1), epochs)
    const base = math.mul(math.add(math.cos(math.mul(epoch, Math.PI / epochs)), 1), learningRate / 2)
    const warm = math.add(math.mul(base, math.div(math.sub(epoch, 1), 10)), math.mul(math.sub(11, epoch), 0.01 / 10))
    return math.selectAtLeast(epoch, 11, base, warm)
  })
}
