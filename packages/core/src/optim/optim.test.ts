import * as tf from '@tensorflow/tfjs-core'
import { describe, expect, it } from 'vitest'
import { useBackend } from '../backend'
import { compile } from '../compile'
import { isBpfError } from '../errors'
import { dispose, entries, leaves } from '../tree'
import { torchOptim } from './__fixtures__/torch'
import * as optim from './index'

type Pair = { w: tf.Tensor; b: tf.Tensor }

const pair = ({ w, b }: { w: readonly number[]; b: readonly number[] }): Pair => ({
  w: tf.tensor2d([...w], [3, 2]),
  b: tf.tensor1d([...b]),
})
const values = (tree: Pair) => [...tree.w.dataSync(), ...tree.b.dataSync()]

/** Parameters after each of the golden gradients. */
function run(optimizer: optim.Optimizer): number[][] {
  let params = pair(torchOptim.params)
  let state = optimizer.init(params)
  return torchOptim.grads.map((g) => {
    const result = optimizer.update(pair(g), state, params)
    state = result.state
    params = optim.applyUpdates(params, result.updates)
    return values(params)
  })
}

function expectClose(actual: number[][], expected: readonly (readonly number[])[], tolerance = 2e-6): void {
  actual.forEach((row, i) =>
    row.forEach((value, j) => expect(Math.abs(value - expected[i][j]), `step ${i} value ${j}`).toBeLessThan(tolerance)),
  )
}

await useBackend()

describe('optimizers equal PyTorch', () => {
  const { runs } = torchOptim
  const cases: [keyof typeof runs, optim.Optimizer][] = [
    ['sgd', optim.sgd({ learningRate: 0.1 })],
    ['sgdDecay', optim.sgd({ learningRate: 0.1, weightDecay: 0.2 })],
    ['sgdMomentum', optim.sgd({ learningRate: 0.1, momentum: 0.9, weightDecay: 0.01 })],
    ['sgdNesterov', optim.sgd({ learningRate: 0.1, momentum: 0.9, nesterov: true, weightDecay: 0.01 })],
    ['sgdClipped', optim.chain(optim.clipByGlobalNorm(0.7), optim.sgd({ learningRate: 0.1 }))],
    ['adam', optim.adam({ learningRate: 0.05 })],
    ['adamOptions', optim.adam({ learningRate: 0.05, beta1: 0.8, beta2: 0.95, epsilon: 1e-3, weightDecay: 0.1 })],
    ['adamw', optim.adamw({ learningRate: 0.05 })],
    ['adamwDecay', optim.adamw({ learningRate: 0.05, weightDecay: 0.3 })],
    ['rmsprop', optim.rmsprop({ learningRate: 0.01 })],
    ['rmspropCentered', optim.rmsprop({ learningRate: 0.01, decay: 0.9, centered: true, momentum: 0.5, weightDecay: 0.1 })],
  ]
  it.each(cases)('%s', (name, optimizer) => {
    // The centred variance of the first steps is a difference of nearly equal float32 numbers.
    expectClose(run(optimizer), runs[name], name === 'rmspropCentered' ? 2e-5 : 2e-6)
  })

  it('sgd with coupled decay is addDecayedWeights before sgd', () => {
    expectClose(run(optim.chain(optim.addDecayedWeights(0.2), optim.sgd({ learningRate: 0.1 }))), runs.sgdDecay)
  })

  it('addDecayedWeights spares leaves by path', () => {
    const mixed = run(
      optim.chain(
        optim.addDecayedWeights(0.2, (path) => path === '/w'),
        optim.sgd({ learningRate: 0.1 }),
      ),
    )
    const expected = runs.sgdDecay.map((row, i) => [...row.slice(0, 6), ...runs.sgd[i].slice(6)])
    expectClose(mixed, expected)
  })
})

describe('lamb', () => {
  it('follows the published formula (float64 oracle)', () => {
    const options = { learningRate: 0.02, beta1: 0.9, beta2: 0.99, epsilon: 1e-6, weightDecay: 0.1 }
    const norm = (x: number[]) => Math.hypot(...x)
    const oracle = (initial: readonly number[], gradients: readonly (readonly number[])[]) => {
      let p = [...initial]
      let m = p.map(() => 0)
      let v = p.map(() => 0)
      return gradients.map((g, i) => {
        m = m.map((x, j) => options.beta1 * x + (1 - options.beta1) * g[j])
        v = v.map((x, j) => options.beta2 * x + (1 - options.beta2) * g[j] ** 2)
        const r = p.map((x, j) => {
          const mHat = m[j] / (1 - options.beta1 ** (i + 1))
          const vHat = v[j] / (1 - options.beta2 ** (i + 1))
          return mHat / (Math.sqrt(vHat) + options.epsilon) + options.weightDecay * x
        })
        const ratio = norm(p) / norm(r)
        p = p.map((x, j) => x - options.learningRate * ratio * r[j])
        return p
      })
    }
    const { params, grads } = torchOptim
    const w = oracle(
      params.w,
      grads.map((g) => g.w),
    )
    const b = oracle(
      params.b,
      grads.map((g) => g.b),
    )
    expectClose(
      run(optim.lamb(options)),
      w.map((row, i) => [...row, ...b[i]]),
    )
  })

  it('takes the plain step for weights that are all zero', () => {
    const params = { w: tf.zeros([2]) }
    const optimizer = optim.lamb({ learningRate: 0.5 })
    const { updates } = optimizer.update({ w: tf.tensor1d([3, -2]) }, optimizer.init(params), params)
    expectClose([[...updates.w.dataSync()]], [[-0.5, 0.5]], 1e-5)
  })
})

describe('schedules', () => {
  const { schedules } = torchOptim
  const stepDecay = optim.stepDecay(0.5, { every: 3, factor: 0.5 })
  const cases: [keyof typeof schedules, optim.Schedule][] = [
    ['stepDecay', stepDecay],
    ['milestones', optim.milestones(0.5, { steps: [2, 7] })],
    ['cosine', optim.cosine({ from: 0.5, to: 0.05, steps: 11 })],
    ['polynomial', optim.polynomial({ from: 0.5, steps: 8, power: 2 })],
    ['warmUp', optim.warmUp(4, stepDecay, { from: 0.1 })],
  ]
  it.each(cases)('%s equals PyTorch, for numbers and for tensors', (name, rate) => {
    const expected = schedules[name]
    expected.forEach((value, step) => {
      expect(rate(step)).toBeCloseTo(value, 8)
      expect(Math.abs(rate(tf.scalar(step, 'int32')).dataSync()[0] - value)).toBeLessThan(2e-7)
      expect(Math.abs(rate(tf.scalar(step)).dataSync()[0] - value)).toBeLessThan(2e-7)
    })
  })

  it('linearCoolDown multiplies by a line to the end', () => {
    const rate = optim.linearCoolDown(2, { total: 10, steps: 4 })
    expect([0, 6, 7, 8, 9, 10, 12].map((step) => rate(step))).toEqual([2, 2, 1.5, 1, 0.5, 0, 0])
  })

  it('compose: warm-up, plateau, cool-down', () => {
    const rate = optim.linearCoolDown(optim.warmUp(2, 1), { total: 8, steps: 2 })
    const expected = [0, 0.5, 1, 1, 1, 1, 1, 0.5, 0]
    expect(expected.map((_, step) => rate(step))).toEqual(expected)
    expect(expected.map((_, step) => rate(tf.scalar(step, 'int32')).dataSync()[0])).toEqual(expected)
  })

  it('a user writes one definition for both', () => {
    const rate = optim.schedule((step, math) => math.pow(math.add(step, 1), -0.5))
    expect(rate(3)).toBe(0.5)
    expect(rate(tf.scalar(3, 'int32')).dataSync()[0]).toBeCloseTo(0.5, 6)
  })

  it('an optimizer reads its schedule at the number of steps done before', () => {
    const optimizer = optim.sgd({ learningRate: optim.milestones(1, { steps: [1], factor: 0.25 }) })
    const params = { w: tf.scalar(0) }
    const first = optimizer.update({ w: tf.scalar(1) }, optimizer.init(params), params)
    const second = optimizer.update({ w: tf.scalar(1) }, first.state, params)
    expect([first.updates.w.dataSync()[0], second.updates.w.dataSync()[0]]).toEqual([-1, -0.25])
  })
})

describe('clipping', () => {
  const params = { w: tf.zeros([2]) }
  const clipped = (rule: optim.Optimizer, g: number[]) => [
    ...rule.update({ w: tf.tensor1d(g) }, rule.init(params), params).updates.w.dataSync(),
  ]

  it('leaves short gradients as they are and shortens long ones', () => {
    expect(clipped(optim.clipByGlobalNorm(10), [3, 4])).toEqual([3, 4])
    expectClose([clipped(optim.clipByGlobalNorm(1), [3, 4])], [[0.6, 0.8]])
  })

  it('turns every gradient to NaN where one is not finite, or to zero on demand', () => {
    for (const bad of [NaN, Infinity]) {
      expect(clipped(optim.clipByGlobalNorm(1), [bad, 4])).toEqual([NaN, NaN])
      expect(clipped(optim.clipByGlobalNorm(1, { nonFinite: 'zero' }), [bad, 4])).toEqual([0, 0])
    }
  })

  it('by value keeps NaN', () => {
    expect(clipped(optim.clipByValue(2), [-3, 1])).toEqual([-2, 1])
    expect(clipped(optim.clipByValue(2), [NaN, 5])).toEqual([NaN, 2])
  })
})

describe('accumulate', () => {
  it('moves every n-th step by the mean gradient, and its optimizer counts those only', () => {
    const plain = optim.adam({ learningRate: 0.1 })
    const rule = optim.accumulate(plain, 3)
    const params = pair(torchOptim.params)
    let state = rule.init(params)
    const moves = torchOptim.grads.map((g) => {
      const result = rule.update(pair(g), state, params)
      state = result.state
      return values(result.updates)
    })
    const mean = (from: number) => {
      const rows = torchOptim.grads.slice(from, from + 3).map((g) => [...g.w, ...g.b])
      const average = rows[0].map((_, j) => (rows[0][j] + rows[1][j] + rows[2][j]) / 3)
      return pair({ w: average.slice(0, 6), b: average.slice(6) })
    }
    const first = plain.update(mean(0), plain.init(params), params)
    const second = plain.update(mean(3), first.state, params)
    for (const quiet of [0, 1, 3, 4]) expect(moves[quiet]).toEqual([0, 0, 0, 0, 0, 0, 0, 0])
    expectClose([moves[2], moves[5]], [values(first.updates), values(second.updates)])
  })
})

describe('masked', () => {
  it('keeps masked weights bit for bit and gives them no momentum', () => {
    const mask: Pair = { w: tf.tensor2d([1, 0, 0, 1, 1, 0], [3, 2]), b: tf.tensor1d([0, 1]) }
    const rule = optim.masked(optim.adamw({ learningRate: 0.1, weightDecay: 0.5 }), mask)
    const initial = pair(torchOptim.params)
    let params = initial
    let state = rule.init(params)
    for (const g of torchOptim.grads) {
      const result = rule.update(pair(g), state, params)
      state = result.state
      params = optim.applyUpdates(params, result.updates)
    }
    const inner = state.inner as optim.AdamState
    const flatMask = values(mask)
    const after = values(params)
    const slots = [values(inner.mean as Pair), values(inner.square as Pair)]
    values(initial).forEach((value, i) => {
      expect(after[i] === value).toBe(flatMask[i] === 0)
      for (const slot of slots) expect(slot[i] === 0).toBe(flatMask[i] === 0)
    })
    expect(inner.count.dataSync()[0]).toBe(torchOptim.grads.length)
  })
})

describe('every rule', () => {
  const mask: Pair = { w: tf.ones([3, 2]), b: tf.ones([2]) }
  const rules: [string, optim.Optimizer][] = [
    ['sgd', optim.sgd({ learningRate: 0.1, momentum: 0.9 })],
    ['adam', optim.adam({ learningRate: optim.cosine({ from: 0.1, steps: 10 }) })],
    ['adamw', optim.adamw({ learningRate: 0.1 })],
    ['rmsprop', optim.rmsprop({ learningRate: 0.1, centered: true, momentum: 0.9 })],
    ['lamb', optim.lamb({ learningRate: 0.1, weightDecay: 0.1 })],
    ['chain', optim.chain(optim.clipByGlobalNorm(1), optim.clipByValue(0.5), optim.addDecayedWeights(0.1), optim.scaleBySchedule(-0.1))],
    ['empty chain', optim.chain()],
    ['accumulate', optim.accumulate(optim.adam({ learningRate: 0.1 }), 2)],
    ['masked', optim.masked(optim.sgd({ learningRate: 0.1, momentum: 0.9 }), mask)],
  ]

  it.each(rules)('%s leaks nothing, aliases nothing, and keeps the structure of its state', (_, rule) => {
    const params = pair(torchOptim.params)
    const grads = pair(torchOptim.grads[0])
    const state = rule.init(params)
    const before = tf.memory().numTensors
    const result = rule.update(grads, state, params)
    const inputs = new Set([params, grads, state].flatMap((tree) => leaves(tree)))
    const outputs = leaves(result)
    expect(outputs.some((leaf) => inputs.has(leaf))).toBe(false)
    expect(tf.memory().numTensors - before).toBe(new Set(outputs).size)
    expect(entries(result.state).map(({ path, leaf }) => [path, leaf.dtype, leaf.shape])).toEqual(
      entries(state).map(({ path, leaf }) => [path, leaf.dtype, leaf.shape]),
    )
    dispose(result)
    expect(tf.memory().numTensors).toBe(before)
    dispose(params, grads, state)
  })

  it.each(rules)('%s runs under compile', (_, rule) => {
    const params = pair(torchOptim.params)
    const step = compile((p: Pair, s: ReturnType<typeof rule.init>, g: Pair) => {
      const { updates, state } = rule.update(g, s, p)
      return { params: optim.applyUpdates(p, updates), state }
    })
    const { params: next } = step(params, rule.init(params), pair(torchOptim.grads[0]))
    expect(values(next).every(Number.isFinite)).toBe(true)
  })

  it('leaves int32 leaves alone', () => {
    const params = { w: tf.scalar(1), steps: tf.scalar(7, 'int32') }
    const rule = optim.adam({ learningRate: 0.1 })
    const { updates } = rule.update({ w: tf.scalar(1), steps: tf.scalar(0, 'int32') }, rule.init(params), params)
    const next = optim.applyUpdates(params, updates)
    expect([next.steps.dtype, next.steps.dataSync()[0]]).toEqual(['int32', 7])
  })

  it('names the structures where gradients and parameters differ', () => {
    const rule = optim.sgd({ learningRate: 0.1 })
    const params: { [key: string]: tf.Tensor } = { w: tf.zeros([2]) }
    const attempt = () => rule.update({ v: tf.zeros([3]) } as typeof params, rule.init(params), params)
    expect(attempt).toThrow(/same tree.*float32\[2\].*float32\[3\]/)
  })
})

describe('options', () => {
  it('out of range are named', () => {
    const bad: [() => unknown, RegExp][] = [
      [() => optim.sgd({ learningRate: -1 }), /sgd: learningRate must be at least 0, got -1/],
      [() => optim.sgd({ learningRate: 0.1, nesterov: true }), /nesterov needs momentum/],
      [() => optim.adam({ learningRate: 0.1, beta2: 1 }), /beta2 must be at least 0 and below 1, got 1/],
      [() => optim.accumulate(optim.sgd({ learningRate: 1 }), 0), /every must be a positive integer/],
      [() => optim.milestones(1, { steps: [3, 2] }), /steps must increase/],
      [() => optim.cosine({ from: 1, steps: 0 }), /steps must be an integer of at least 1/],
      [() => optim.clipByGlobalNorm(0), /maxNorm/],
    ]
    for (const [attempt, message] of bad) {
      expect(attempt).toThrow(message)
      try {
        attempt()
      } catch (error) {
        expect(isBpfError(error, 'OptionError')).toBe(true)
      }
    }
  })
})
