import { fitStages, random, tree, useBackend } from '@bpf/core'
import { batch, fromArrays } from '@bpf/core/data'
import { learnerContract, stagedContract } from '@bpf/core/testing'
import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import {
  boostedNetworkFromState,
  boostingLoss,
  fitGradientBoostedNetwork,
  fitJointNetwork,
  gradientBoostedNetwork,
  networkObjective,
  stepNetwork,
  type FitGradientBoostedNetworkOptions,
  type MergedNetwork,
} from './gradient-boosted-network'
import { fitNetwork, initialNetwork } from './gradient-boosted-network/small-network'

const rows = 48
const columns = 3
const X = { data: random.normalArray(random.key(1), rows * columns), shape: [rows, columns] }
const at = (i: number, j: number): number => X.data[i * columns + j]
const score = Float64Array.from({ length: rows }, (_, i) => Math.sin(2 * at(i, 0)) + at(i, 1) * at(i, 2))
const targets = {
  regression: score.map((value) => Math.round(32 * value) / 8),
  binary: score.map((value) => (value > 0.3 ? 5 : -2)),
  multiclass: score.map((value) => (value > 0.5 ? 7 : value < -0.5 ? 3 : 4)),
}
const small = { totalUnits: 8, unitsPerStep: 2, eta: 0.5, maxIterations: 40 }

const fitted = (kind: keyof typeof targets, options: Partial<FitGradientBoostedNetworkOptions> = {}) =>
  fitGradientBoostedNetwork(X, targets[kind], { task: kind === 'regression' ? 'regression' : 'classification', ...small, ...options })

/** Outputs of a merged network by the plain formula. */
function plainOutputs(net: MergedNetwork): Float64Array {
  const { units, outputs } = net
  return Float64Array.from({ length: rows * outputs }, (_, at) => {
    const [row, k] = [Math.floor(at / outputs), at % outputs]
    let sum = net.b2[k]
    for (let u = 0; u < units; u++) {
      let z = net.b1[u]
      for (let i = 0; i < columns; i++) z += X.data[row * columns + i] * net.W1[i * units + u]
      sum += net.W2[u * outputs + k] / (1 + Math.exp(-z))
    }
    return sum
  })
}

const largestGap = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Array.from(a).reduce((gap, value, i) => Math.max(gap, Math.abs(value - b[i])), a.length === b.length ? 0 : Infinity)

const normals = (seed: number, n: number): Float64Array => Float64Array.from(random.normalArray(random.key(seed), n))

beforeAll(async () => {
  await useBackend('cpu')
})

describe('oracles', () => {
  for (const kind of ['regression', 'binary', 'multiclass'] as const) {
    it(`1: the merged network is the ensemble to 1e-9 (${kind})`, async () => {
      const model = await fitted(kind)
      const merged = model.toNetwork()
      expect(merged.units).toBe(8)
      const out = plainOutputs(merged)
      const raw = model.decisionFunction(X)
      const scale = kind === 'binary' ? 2 : 1
      expect(
        largestGap(
          out,
          raw.map((f) => scale * f),
        ),
      ).toBeLessThan(1e-9 * Math.max(1, ...raw.map(Math.abs)))
      if (kind === 'regression') return
      const proba = model.predictProba(X)
      const K = model.classes?.length ?? 0
      const again = Float64Array.from({ length: rows * K }, (_, at) => {
        const row = Math.floor(at / K)
        if (kind === 'binary') return at % 2 === 1 ? 1 / (1 + Math.exp(-out[row])) : 1 - 1 / (1 + Math.exp(-out[row]))
        return Math.exp(out[at]) / out.subarray(row * K, (row + 1) * K).reduce((sum, value) => sum + Math.exp(value), 0)
      })
      expect(largestGap(proba, again)).toBeLessThan(1e-9)
    })

    it(`2: truncating to t steps is the staged prediction at t, exactly (${kind})`, async () => {
      const model = await fitted(kind)
      const staged = model.stagedPredict(X)
      expect(staged).toHaveLength(4)
      for (let t = 1; t <= 4; t++) {
        const short = model.truncate(t)
        expect(short.predict(X)).toEqual(staged[t - 1])
        expect(short.toNetwork().units).toBe(2 * t)
        expect(short.losses).toEqual(model.losses.slice(0, t + 1))
        // The merged network of the first t blocks loses the later blocks' b2 too.
        const scale = kind === 'binary' ? 2 : 1
        expect(
          largestGap(
            plainOutputs(short.toNetwork()),
            short.decisionFunction(X).map((f) => scale * f),
          ),
        ).toBeLessThan(1e-9 * 100)
      }
      expect(model.stagedScore(X, targets[kind])).toHaveLength(4)
    })
  }

  it('3: with η = 1 on all rows the squared training loss never increases', async () => {
    const { losses } = await fitted('regression', { eta: 1, subsample: 1, totalUnits: 16 })
    for (let t = 1; t < losses.length; t++) expect(losses[t]).toBeLessThanOrEqual(losses[t - 1] + 1e-9)
    expect(losses[8]).toBeLessThan(0.2 * losses[0])
  })

  it('4: along a constant h the step is −L′(0)/L″(0) of Σ L(y, F + ρ h), by finite differences', () => {
    const loss = boostingLoss('logExponential')
    const raw = normals(5, 30)
    const y = normals(6, 30).map((value) => (value > 0 ? 1 : -1))
    for (const c of [0.7, -1.3]) {
      const h = raw.map(() => c)
      const along = (rho: number): number =>
        loss
          .rowLosses(
            y,
            raw.map((f) => f + rho * c),
          )
          .reduce((sum, value) => sum + value, 0)
      const step = 1e-4
      const first = (along(step) - along(-step)) / (2 * step)
      const second = (along(step) - 2 * along(0) + along(-step)) / step ** 2
      expect(loss.newtonStep(y, loss.residuals(y, raw), h)).toBeCloseTo(-first / second, 5)
    }
  })

  it('5: F₀ minimises the mean loss over constants; 75 % positives give ½ ln 3', () => {
    const golden = (f: (x: number) => number): number => {
      let [low, high] = [-10, 10]
      const ratio = (Math.sqrt(5) - 1) / 2
      while (high - low > 1e-9) {
        const [a, b] = [high - ratio * (high - low), low + ratio * (high - low)]
        if (f(a) < f(b)) high = b
        else low = a
      }
      return (low + high) / 2
    }
    const check = (kind: 'squared' | 'logExponential', y: Float64Array): void => {
      const loss = boostingLoss(kind)
      const best = golden((c) =>
        loss
          .rowLosses(
            y,
            y.map(() => c),
          )
          .reduce((sum, value) => sum + value, 0),
      )
      expect(loss.initial(y)[0]).toBeCloseTo(best, 6)
    }
    check('squared', normals(7, 25))
    const y = Float64Array.of(1, 1, 1, -1)
    check('logExponential', y)
    expect(boostingLoss('logExponential').initial(y)[0]).toBeCloseTo(0.5 * Math.log(3), 14)
  })

  it('6: multiclass residuals sum to 0 in a row; the two starts agree only for equal priors', () => {
    const raw = normals(8, 12)
    const y = Float64Array.from({ length: 12 }, (_, i) => (i % 3 === 1 ? 1 : 0))
    const residuals = boostingLoss('crossEntropy', 3).residuals(y, raw)
    for (let row = 0; row < 4; row++) expect(residuals[3 * row] + residuals[3 * row + 1] + residuals[3 * row + 2]).toBeCloseTo(0, 14)
    const binary = boostingLoss('logExponential')
    const multi = boostingLoss('crossEntropy', 2)
    const startsOf = (signs: Float64Array) => [binary.probabilities?.(binary.initial(signs)), multi.probabilities?.(multi.initial(signs))]
    const [even, evenMulti] = startsOf(Float64Array.of(1, -1, 1, -1))
    expect(even).toEqual(evenMulti)
    const [skewed, skewedMulti] = startsOf(Float64Array.of(1, 1, 1, -1))
    expect(skewed?.[1]).toBeCloseTo(0.75, 12)
    expect(skewedMulti?.[1]).toBe(0.5)
  })

  it('7: one step of all units is F₀ + a network fitted to y − mean(y)', async () => {
    const y = targets.regression
    const options = { ...small, totalUnits: 6, unitsPerStep: 6, eta: 1, subsample: 1 }
    const model = await fitted('regression', options)
    const mean = y.reduce((sum, value) => sum + value, 0) / rows
    expect(model.f0[0]).toBeCloseTo(mean, 12)
    expect(Array.from(model.rho)).toEqual([1])
    // The network that fitStages gives the step: the same start by the same keys, fitted on the centred targets.
    const [, stages] = random.split(random.key(0), 2)
    const [, fitKey] = random.split(random.fold(stages, 0), 2)
    const [init] = random.split(fitKey, 6)
    const sizes = { features: columns, units: 6, outputs: 1 }
    const { weights } = fitNetwork(
      { x: X.data, target: y.map((value) => value - mean) },
      initialNetwork(init, sizes, 'logistic'),
      { ...sizes, activation: 'logistic', solver: 'lbfgs', maxIterations: 40, alpha: 1e-4, learningRate: 1e-3, loss: 'squared' },
      random.key(0),
    )
    const alone = plainOutputs({ ...sizes, ...weights, activation: 'logistic', outputActivation: 'identity' })
    expect(
      largestGap(
        model.predict(X),
        alone.map((value) => mean + value),
      ),
    ).toBeLessThan(1e-4)
  })

  it('8: one seed gives bit-identical fits, another seed others', async () => {
    for (const subsample of [1, 0.5]) {
      const [a, b, c] = [
        await fitted('multiclass', { subsample }),
        await fitted('multiclass', { subsample }),
        await fitted('multiclass', { subsample, key: random.key(3) }),
      ]
      expect(a.decisionFunction(X)).toEqual(b.decisionFunction(X))
      expect(a.decisionFunction(X)).not.toEqual(c.decisionFunction(X))
    }
  })

  it('9: a constant added to y shifts the predictions by it', async () => {
    const shifted = await fitGradientBoostedNetwork(
      X,
      targets.regression.map((value) => value + 16),
      { task: 'regression', ...small },
    )
    const plain = await fitted('regression')
    expect(
      largestGap(
        shifted.predict(X),
        plain.predict(X).map((value) => value + 16),
      ),
    ).toBeLessThan(1e-6)
  })
})

describe('fitGradientBoostedNetwork', () => {
  it('learns each task and keeps the labels', async () => {
    for (const kind of ['binary', 'multiclass'] as const) {
      const model = await fitted(kind, { totalUnits: 24, subsample: 1, maxIterations: 200 })
      expect(model.classes).toEqual([...new Set(targets[kind])].sort((a, b) => a - b))
      expect(model.stagedScore(X, targets[kind])[11]).toBeGreaterThan(0.9)
    }
    expect(
      (await fitted('regression', { totalUnits: 24, maxIterations: 200, subsample: 1 })).stagedScore(X, targets.regression)[11],
    ).toBeGreaterThan(0.8)
  })

  it('works with every activation and solver', async () => {
    for (const activation of ['tanh', 'relu'] as const) {
      const { losses } = await fitted('regression', { activation, subsample: 1, totalUnits: 12 })
      expect(losses[6]).toBeLessThan(0.7 * losses[0])
    }
    for (const solver of ['adam', 'sgd'] as const) {
      const { losses } = await fitted('regression', { solver, learningRate: 0.03, maxIterations: 200, subsample: 1 })
      expect(losses[4]).toBeLessThan(0.9 * losses[0])
    }
  })

  it('stops early when nothing is left to fit', async () => {
    const constant = await fitGradientBoostedNetwork(X, new Float64Array(rows).fill(3), { task: 'regression', ...small })
    expect(constant.steps).toBe(0)
    expect(constant.predict(X)).toEqual(new Float64Array(rows).fill(3))
  })

  it('refuses bad input with the offending value', async () => {
    const expectError = async (run: () => unknown, message: RegExp) => expect((async () => run())()).rejects.toThrow(message)
    await expectError(() => fitGradientBoostedNetwork(X, new Float64Array(rows), { task: 'classification' }), /at least two classes/)
    await expectError(() => fitted('binary', { totalUnits: 1 }), /totalUnits must be at least unitsPerStep.*1.*2/)
    for (const subsample of [0, 1.5, NaN]) await expectError(() => fitted('binary', { subsample }), /subsample must be in \(0, 1\]/)
    await expectError(() => fitted('binary', { subsample: 0.01 }), /subsample: 0.01 of 48 rows/)
    await expectError(() => fitted('binary', { eta: 0 }), /eta must be a positive number, got 0/)
    await expectError(() => fitGradientBoostedNetwork(X, [1, 2], { task: 'regression' }), /X has 48 rows, y 2/)
    await expectError(() => fitGradientBoostedNetwork([[1], [NaN]], [1, 2], { task: 'regression' }), /X.*NaN/)
    await expectError(() => fitGradientBoostedNetwork([[1], [2]], [1, Infinity], { task: 'regression' }), /y.*Infinity/)
    await expectError(() => fitted('binary', { activation: 'step' as 'tanh' }), /activation must be one of.*'step'/)
    await expectError(() => fitted('binary', { solver: 'newton' as 'sgd' }), /solver must be one of.*'newton'/)
    const model = await fitted('regression')
    expect(() => model.predict([[1, 2]])).toThrow(/model was fitted with 3 features, got 2/)
    expect(() => model.predictProba(X)).toThrow(/no probabilities/)
    expect(() => model.truncate(9)).toThrow(/0 to 4, got 9/)
  })
})

describe('fitJointNetwork', () => {
  it('fits values and labels with all units at once', () => {
    const regression = fitJointNetwork(X, targets.regression, { task: 'regression', units: 10, solver: 'lbfgs', maxIterations: 100 })
    expect(largestGap(regression.predict(X), targets.regression)).toBeLessThan(3)
    const labels = fitJointNetwork(X, targets.multiclass, { task: 'classification', units: 20, learningRate: 0.03 }).predict(X)
    expect(labels.filter((label, i) => label === targets.multiclass[i]).length / rows).toBeGreaterThan(0.85)
  })
})

const method = { totalUnits: 4, unitsPerStep: 2, eta: 0.5, maxIterations: 10 }
const indices = Float32Array.from(targets.multiclass, (label) => [3, 4, 7].indexOf(label))
const dataset = () => batch(fromArrays({ x: X, y: indices }), rows)

describe('the staged method', () => {
  for (const { name, run } of stagedContract({ staged: () => gradientBoostedNetwork({ ...method, classes: 3 }), dataset })) it(name, run)

  it('predicts on tensors what the double-precision model does', async () => {
    const input = tf.tensor2d(X.data, [rows, columns])
    const cases = [
      { classes: 0, y: Float32Array.from(targets.regression) },
      { classes: 2, y: Float32Array.from(targets.binary, (label) => (label > 0 ? 1 : 0)) },
      { classes: 3, y: indices },
    ]
    for (const { classes, y } of cases) {
      const staged = gradientBoostedNetwork({ ...method, classes })
      const { state } = await fitStages(staged, batch(fromArrays({ x: X, y }), 10), { seed: 1 })
      const model = boostedNetworkFromState(state, { ...method, classes })
      const predicted = staged.predict?.(state.tensors, input) as tf.Tensor
      const expected = classes === 0 ? model.predict(X) : model.predictProba(X)
      expect(largestGap(predicted.dataSync(), expected)).toBeLessThan(1e-4)
      tree.dispose(state.tensors, predicted)
    }
  })
})

describe('the small network of a step', () => {
  const learner = () => stepNetwork({ units: 2, maxIterations: 3 })
  const regression = () => batch(fromArrays({ x: X, y: Float32Array.from(targets.regression) }), 12)
  for (const { name, run } of learnerContract({ learner, dataset: regression, refusesNaN: true })) it(name, run)
})

describe('the objective of a network', () => {
  beforeAll(async () => {
    await useBackend('onnx')
  })

  it('over many rows, where the backend computes it, is that of two halves on the host, to 1e-11', () => {
    const sizes = { features: 8, units: 8, outputs: 2 }
    const n = 700
    const x = normals(11, n * sizes.features)
    const target = normals(12, n * sizes.outputs).map((value, i, all) =>
      i % 2 === 0 ? 1 / (1 + Math.exp(-value)) : 1 - 1 / (1 + Math.exp(-all[i - 1])),
    )
    const w = normals(13, 8 * 8 + 8 + 8 * 2 + 2)
    for (const activation of ['logistic', 'tanh', 'relu'] as const) {
      for (const loss of ['squared', 'softmax'] as const) {
        const objective = networkObjective({ x, target }, { ...sizes, activation, loss, alpha: 0 })
        const over = (from: number, to: number) => {
          const part = objective(Int32Array.from({ length: to - from }, (_, i) => from + i))
          const { value, gradient } = part.evaluate(w)
          part.dispose()
          return Float64Array.of(value, ...gradient).map((entry) => entry * (to - from))
        }
        const tensors = tf.memory().numTensors
        const [whole, first, second] = [over(0, n), over(0, n / 2), over(n / 2, n)]
        expect(
          largestGap(
            whole,
            first.map((value, i) => value + second[i]),
          ),
        ).toBeLessThan(1e-11 * Math.max(...whole.map(Math.abs)))
        expect(tf.memory().numTensors).toBe(tensors)
      }
    }
  })
})
