import { goldenArray, goldenCases, isGoldenArray, mismatch, type GoldenCase } from '@bpf/core/testing'
import { describe, expect, it } from 'vitest'
import { boostedNetworkModel, boostingLoss, type BoostingLoss, type BoostingLossKind } from './gradient-boosted-network'
import { addScaled, constantRows } from './gradient-boosted-network/model'
import { networkOutputs, type NetworkWeights, type UnitActivation } from './gradient-boosted-network/small-network'

type Inputs = GoldenCase['inputs']
type Outputs = Record<string, number | ArrayLike<number> | undefined>

const kinds: Record<string, BoostingLossKind> = { sq: 'squared', log: 'logExponential', multi: 'crossEntropy' }
const flat = (inputs: Inputs, name: string): Float64Array => Float64Array.from(goldenArray(inputs, name).data)
const sum = (values: Float64Array): number => values.reduce((total, value) => total + value, 0)

function lossQuantities(inputs: Inputs): Outputs {
  const kind = inputs.kind as string
  const loss = boostingLoss(kinds[kind], goldenArray(inputs, 'y').shape[1])
  const [y, prev, h] = [flat(inputs, 'y'), flat(inputs, 'prev'), flat(inputs, 'h')]
  const residuals = loss.residuals(y, prev)
  const rowLosses = loss.rowLosses(y, prev)
  return {
    model0: loss.initial(y),
    residuals,
    rho: loss.newtonStep(y, residuals, h),
    // The reference sums the multi-class loss over rows.
    lossReference: kind === 'multi' ? sum(rowLosses) : rowLosses,
    probs: loss.probabilities?.(prev),
  }
}

/** Class labels as the loss wants them: −1 and +1, or one-hot, in sorted order. */
function encoded(y: Float64Array, kind: string, labels: number[]): Float64Array {
  if (kind === 'sq') return y
  if (kind === 'log') return y.map((label) => (label === labels[0] ? -1 : 1))
  return Float64Array.from({ length: y.length * labels.length }, (_, i) =>
    y[Math.floor(i / labels.length)] === labels[i % labels.length] ? 1 : 0,
  )
}

/** The ρ_t of given networks, by the steps of the training loop. */
function newtonSteps(
  loss: BoostingLoss,
  x: Float64Array,
  y: Float64Array,
  networks: NetworkWeights[],
  sizes: { features: number; units: number; outputs: number },
  activation: UnitActivation,
  eta: number,
): { f0: Float64Array; rho: Float64Array } {
  const f0 = loss.initial(y)
  const raw = constantRows(f0, x.length / sizes.features)
  const rho = networks.map((network) => {
    const h = networkOutputs(x, network, sizes, activation)
    const step = eta * loss.newtonStep(y, loss.residuals(y, raw), h)
    addScaled(raw, step, h)
    return step
  })
  return { f0, rho: Float64Array.from(rho) }
}

function replayEnsemble(inputs: Inputs): Outputs {
  const { kind, J, T, eta, activation } = inputs as { kind: string; J: number; T: number; eta: number; activation: UnitActivation }
  const X = goldenArray(inputs, 'X')
  const features = X.shape[1]
  const y = flat(inputs, 'y')
  const labels = [...new Set(y)].sort((a, b) => a - b)
  const outputs = kind === 'multi' ? labels.length : 1
  const sizes = { features, units: J, outputs }
  const [W1, b1, W2, b2] = [flat(inputs, 'W1'), flat(inputs, 'b1'), flat(inputs, 'W2'), flat(inputs, 'b2')]
  const networks = Array.from({ length: T }, (_, t) => ({
    W1: Float64Array.from({ length: features * J }, (_, i) => W1[Math.floor(i / J) * T * J + t * J + (i % J)]),
    b1: b1.slice(t * J, (t + 1) * J),
    W2: W2.slice(t * J * outputs, (t + 1) * J * outputs),
    b2: b2.slice(t * outputs, (t + 1) * outputs),
  }))
  const loss = boostingLoss(kinds[kind], outputs)
  const x = Float64Array.from(X.data)
  const { f0, rho } = newtonSteps(loss, x, encoded(y, kind, labels), networks, sizes, activation, eta)
  const classes = kind === 'sq' ? undefined : labels
  const model = boostedNetworkModel({ ...sizes, loss: loss.kind, activation, classes, f0, rho, networks, losses: new Float64Array(0) })
  const merged = model.toNetwork()
  return {
    f0,
    rho,
    raw: model.decisionFunction(X),
    netW1: merged.W1,
    netb1: merged.b1,
    netW2: merged.W2,
    netb2: merged.b2,
    proba: classes && model.predictProba(X),
  }
}

const functions: Record<string, (inputs: Inputs) => Outputs> = { lossQuantities, replayEnsemble }

describe('13-gbnn golden vectors', () => {
  for (const { fn, name, inputs, outputs, tolerance } of goldenCases(new URL('../test/golden/', import.meta.url), '13-gbnn')) {
    it(`${name}: ${fn} agrees in double precision within the file's tolerance`, () => {
      const computed = functions[fn](inputs)
      for (const [key, expected] of Object.entries(outputs)) {
        const actual = computed[key]
        if (actual === undefined) throw new Error(`${key} is not computed`)
        const values = isGoldenArray(expected) ? expected.data : [expected as number]
        expect(mismatch(typeof actual === 'number' ? [actual] : actual, values, tolerance), key).toBeUndefined()
      }
    })
  }
})
