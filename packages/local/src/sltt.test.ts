import { activationBytes, compile, tree, useBackend, valueAndGrad, type Key, type Tree } from '@bpf/core'
import { batch, fromArrays } from '@bpf/core/data'
import { avgPool, batchNorm, conv2d, dense, dropout, flatten, sequential, type Layer } from '@bpf/core/nn'
import { fold, key, normal, normalArray, uniform, uniformArray } from '@bpf/core/random'
import { learnerContract } from '@bpf/core/testing'
import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import { fitClassifier } from './classifier'
import { surrogateDerivative, resetPotentials } from './shared/lif'
import {
  eventFrames,
  lif,
  sltt,
  spikingResnet18,
  spikingVgg11,
  normFreeSpikingResnet,
  type SlttOptions,
  type SlttState,
  type Surrogate,
} from './sltt'
import { gradientsInSpace, stepInSpace, type SpikingParts, type SpikingTask } from './sltt/gradients'

beforeAll(() => useBackend('onnx'))

const width = 12
// A bias before batch norm has a gradient of rounding errors only, in which eager and compiled runs need not agree.
const classes = 4
const hidden = (tau = 1.1, surrogate: Surrogate = 'triangle'): Layer =>
  sequential([lif({ tau, surrogate }), dense(16, { bias: false }), batchNorm(), lif({ tau, surrogate }), dense(classes)]) as Layer
const encoder = (): Layer => sequential([dense(20, { bias: false }), batchNorm()]) as Layer
const method = (options: Partial<SlttOptions> = {}, tau = 1.1) =>
  sltt({ network: hidden(tau), encoder: encoder(), classes, steps: 6, ...options })

const sample = (n = 8, seed = 1) => ({
  x: normal(key(seed), [n, width], { stddev: 1.5 }),
  y: tf.tensor1d(
    Int32Array.from({ length: n }, (_, i) => i % classes),
    'int32',
  ),
})
const start = (options: Partial<SlttOptions> = {}, tau = 1.1): SlttState => method(options, tau).init(key(3), sample(), undefined).tensors
const gradientsOf = (options: Partial<SlttOptions>, tau = 1.1): Tree =>
  method(options, tau).gradients(start(options, tau), sample(), key(9)).grads
const flat = (t: Tree): number[] => tree.leaves(t).flatMap((leaf) => Array.from(leaf.dataSync()))
const worst = (a: Tree, b: Tree): number => {
  const [left, right] = [flat(a), flat(b)]
  expect(left).toHaveLength(right.length)
  return left.reduce((most, value, i) => Math.max(most, Math.abs(value - right[i])), 0)
}
const cosine = (a: Tree, b: Tree): number => {
  const [left, right] = [flat(a), flat(b)]
  const dot = (x: number[], y: number[]): number => x.reduce((sum, value, i) => sum + value * y[i], 0)
  return dot(left, right) / Math.sqrt(dot(left, left) * dot(right, right))
}

const rows = 96
const labels = Int32Array.from({ length: rows }, (_, i) => i % classes)
const noise = normalArray(key(5), rows * width, { stddev: 0.4 })
const images = {
  data: noise.map((value, i) => value + ((i % width) % classes === labels[Math.floor(i / width)] ? 2 : 0)),
  shape: [rows, width],
}
const frames = {
  data: uniformArray(key(6), rows * 3 * width).map(
    (value, i) => value + ((i % width) % classes === labels[Math.floor(i / (3 * width))] ? 1 : 0),
  ),
  shape: [rows, 3, width],
}

describe.each([
  ['sltt', { mode: 'sltt' }],
  ['slttk', { mode: 'slttk', trainedSteps: 2 }],
  ['bptt', { mode: 'bptt' }],
] as const)('%s keeps the contract', (_, options) => {
  const dataset = () => batch(fromArrays({ x: images, y: labels }), 16)
  for (const check of learnerContract({ learner: () => method({ ...options, steps: 3 }), dataset })) it(check.name, check.run)
})

describe('frames keep the contract', () => {
  const learner = () =>
    sltt({
      network: sequential([dense(12, { bias: false }), batchNorm(), lif(), dense(classes)]) as Layer,
      classes,
      steps: 3,
      input: 'frames',
    })
  const dataset = () => batch(fromArrays({ x: frames, y: labels }), 16)
  for (const check of learnerContract({ learner, dataset })) it(check.name, check.run)
})

describe('oracles of card 54', () => {
  it('1: with one step sltt, bptt and slttk are the same', () => {
    const one = gradientsOf({ steps: 1 })
    expect(worst(one, gradientsOf({ steps: 1, mode: 'bptt' }))).toBeLessThan(1e-6)
    expect(worst(one, gradientsOf({ steps: 1, mode: 'slttk', trainedSteps: 1 }))).toBeLessThan(1e-6)
  })

  it('2: without memory (τ = 1) sltt is bptt', () => {
    expect(worst(gradientsOf({}, 1), gradientsOf({ mode: 'bptt' }, 1))).toBeLessThan(1e-6)
  })

  it('3: a subset of steps gives its part of the sum; all subsets of size K together K/T of it', () => {
    const task: SpikingTask = {
      encoder: encoder(),
      network: hidden(),
      steps: 3,
      loss: { lambda: 0.05, mean: 1, target: 'constant' },
      input: 'static',
    }
    const { params, states } = start()
    const { x, y } = sample()
    const at = (chosen: number[]): SpikingParts =>
      gradientsInSpace(task, params, states, x, y, { training: true }, tf.tensor1d([0, 1, 2].map((t) => (chosen.includes(t) ? 1 : 0))))
        .grads
    const add = (a: SpikingParts, b: SpikingParts): SpikingParts => tree.map((u, v) => tf.add(u, v), a, b)
    const all = gradientsInSpace(task, params, states, x, y, { training: true }).grads
    expect(worst(add(add(at([0]), at([1])), at([2])), all)).toBeLessThan(1e-6)
    expect(worst(add(at([0]), at([2])), at([0, 2]))).toBeLessThan(1e-6)
    const pairs = add(add(at([0, 1]), at([0, 2])), at([1, 2]))
    const mean = tree.map((sum) => tf.div(sum, 3), pairs)
    const share = tree.map((sum) => tf.mul(sum, 2 / 3), all)
    expect(worst(mean, share)).toBeLessThan(1e-6)
  })

  it('a training step, which keeps nothing of the single steps, has the gradients and states of one that does', () => {
    const task: SpikingTask = {
      encoder: encoder(),
      network: hidden(),
      steps: 4,
      loss: { lambda: 0.05, mean: 1, target: 'constant' },
      input: 'static',
    }
    const { params, states } = start()
    const { x, y } = sample()
    for (const trains of [undefined, tf.tensor1d([0, 1, 0, 1])]) {
      const lean = stepInSpace(task, params, states, x, y, { training: true }, trains)
      const { loss, grads, states: after } = gradientsInSpace(task, params, states, x, y, { training: true }, trains)
      expect(Object.keys(lean).sort()).toEqual(['grads', 'loss', 'states'])
      expect(worst(lean, { loss, grads, states: after })).toBe(0)
    }
  })

  it('4: the forward pass is the same in all modes', () => {
    const logits = (['sltt', 'slttk', 'bptt'] as const).map((mode) => method({ mode }).gradients(start(), sample(), key(1)).logits)
    expect(worst(logits[0], logits[1])).toBe(0)
    expect(worst(logits[0], logits[2])).toBe(0)
  })

  it('5: a constant input of 0.6 at τ = 2 fires in the third step', () => {
    const layer = lif({ tau: 2 })
    let state = layer.init(key(0), [1]).state
    const potentials: number[] = []
    const spikes: number[] = []
    for (let t = 0; t < 4; t++) {
      const step = layer.apply({}, state, tf.tensor2d([[0.6]]), { training: true })
      state = step.state
      potentials.push(state.potential.dataSync()[0])
      spikes.push(step.y.dataSync()[0])
    }
    expect(spikes).toEqual([0, 0, 1, 0])
    ;[0.6, 0.9, 0.05, 0.625].forEach((v, t) => expect(potentials[t]).toBeCloseTo(v, 6))
  })

  it('a threshold V scales the reset, moves the surrogate and, in the rectangle, sets its height', () => {
    const at = (u: number, surrogate: Surrogate) => {
      const layer = lif({ threshold: 0.5, surrogate })
      const { state } = layer.init(key(0), [1])
      const fire = (x: tf.Tensor) => layer.apply({}, state, x, { training: true })
      const x = tf.tensor2d([[u]])
      const { grads } = valueAndGrad((input: tf.Tensor) => tf.sum(fire(input).y))(x)
      const step = fire(x)
      return [step.y, step.state.potential, grads].map((value) => value.dataSync()[0])
    }
    const expected: [number, Surrogate, number[]][] = [
      [0.6, 'triangle', [1, 0.1, 0.9]],
      [0.3, 'triangle', [0, 0.3, 0.8]],
      [0.6, 'rectangle', [1, 0.1, 2]],
      [0.8, 'rectangle', [1, 0.3, 0]],
      [0.5, 'sigmoid', [1, 0, 1]],
    ]
    for (const [u, surrogate, values] of expected) {
      at(u, surrogate).forEach((value, i) => expect(value, `${surrogate} at ${u}`).toBeCloseTo(values[i], 5))
    }
  })

  it('through time a potential passes λ(1 − V h(u)) of its gradient, or λ with the reset detached', () => {
    const passed = (detachReset: boolean): number => {
      const layer = lif({ tau: 2, threshold: 0.5, detachReset })
      const { state } = layer.init(key(0), [1])
      const potential = (x: tf.Tensor) => {
        const first = layer.apply({}, state, x, { training: true })
        return tf.sum(tf.mul(first.state.potential, 0.5))
      }
      return valueAndGrad(potential)(tf.tensor2d([[0.6]])).grads.dataSync()[0]
    }
    expect(passed(false)).toBeCloseTo(0.5 * (1 - 0.5 * 0.9), 6)
    expect(passed(true)).toBeCloseTo(0.5, 6)
  })

  it('fires at equality', () => {
    const layer = lif()
    expect(layer.apply({}, layer.init(key(0), [1]).state, tf.tensor2d([[1]]), { training: true }).y.dataSync()[0]).toBe(1)
  })

  it('6: the gradient in space is near that through time at τ = 1.1, and farther for longer memories', () => {
    const cosines = [1.1, 2, 5].map((tau) => {
      let sum = 0
      for (let seed = 0; seed < 10; seed++) {
        const tensors = method({}, tau).init(key(seed), sample(), undefined).tensors
        const [space, time] = (['sltt', 'bptt'] as const).map(
          (mode) => method({ mode }, tau).gradients(tensors, sample(8, 40 + seed)).grads,
        )
        sum += cosine(space, time) / 10
      }
      return sum
    })
    expect(cosines[0]).toBeGreaterThan(0.9)
    expect(cosines[1]).toBeLessThan(cosines[0])
    expect(cosines[2]).toBeLessThan(cosines[1])
  })

  it.each(['static', 'frames'] as const)(
    '7: with %s input activation memory does not grow with the steps, that of backpropagation through time does',
    (input) => {
      const bytes = (mode: 'sltt' | 'slttk' | 'bptt', steps: number): number => {
        const shape = input === 'frames' ? [steps, width] : [width]
        const batchOf = (n: number) => ({ x: tf.zeros([n, ...shape]), y: tf.zeros([n], 'int32') })
        const network = sequential([dense(20, { bias: false }), batchNorm(), hidden()]) as Layer
        const learner = input === 'frames' ? sltt({ network, classes, mode, steps, input }) : method({ mode, steps })
        const { tensors } = learner.init(key(0), batchOf(2), undefined)
        return activationBytes(
          (state: SlttState, data: { x: tf.Tensor; y: tf.Tensor }, k: Key) => learner.step(state, data, k),
          (n): [SlttState, { x: tf.Tensor; y: tf.Tensor }, Key] => [tensors, batchOf(n), key(0)],
        )
      }
      for (const mode of ['sltt', 'slttk'] as const) {
        const [two, four, sixteen] = [bytes(mode, 2), bytes(mode, 4), bytes(mode, 16)]
        expect(Math.abs(sixteen / two - 1)).toBeLessThan(0.05)
        expect(sixteen / four).toBeLessThan(1.1)
      }
      expect(bytes('bptt', 16) / bytes('bptt', 2)).toBeGreaterThan(6)
    },
  )

  it('8: slttk goes backward at K steps, however many there are', () => {
    const backward = (steps: number): number => {
      let count = 0
      const counting: Layer = {
        init: (_, shape) => ({ params: {}, state: {}, outputShape: shape }),
        apply: (_, state, x) => ({
          y: tf.customGrad((...args: unknown[]) => {
            const [value] = args as [tf.Tensor]
            return { value: tf.clone(value), gradFunc: (dy: tf.Tensor) => (count++, [dy]) }
          })(x),
          state,
        }),
      }
      const network = sequential([lif(), counting, dense(classes)]) as Layer
      const learner = sltt({ network, encoder: encoder(), classes, steps, mode: 'slttk', trainedSteps: 2 })
      learner.gradients(learner.init(key(0), sample(), undefined).tensors, sample(), key(2))
      return count
    }
    expect(backward(4)).toBe(2)
    expect(backward(12)).toBe(2)
  })

  it('9: triangle, rectangle and sigmoid integrate to 1', () => {
    const n = 40_001
    const x = tf.linspace(-20, 20, n)
    for (const surrogate of ['triangle', 'rectangle', 'sigmoid'] as const) {
      const sum = tf.sum(surrogateDerivative(x, surrogate)).dataSync()[0]
      expect(sum * (40 / (n - 1))).toBeCloseTo(1, 2)
    }
  })

  it('10: a second run of the same batch gives the same outputs', () => {
    const tensors = start()
    const { x } = sample()
    expect(worst(method().stepLogits(tensors, x), method().stepLogits(tensors, x))).toBe(0)
    expect(flat(resetPotentials({ a: { potential: tf.ones([3, 2]) } }, 5))).toEqual(Array(10).fill(0))
  })
})

describe('sltt', () => {
  it('slttk draws K different steps of each minibatch', () => {
    const learner = method({ mode: 'slttk', trainedSteps: 2 })
    const tensors = start()
    const all = flat(method().gradients(tensors, sample()).grads)
    const seen = new Set<string>()
    for (let i = 0; i < 12; i++) {
      const grads = flat(learner.gradients(tensors, sample(), fold(key(4), i)).grads)
      expect(grads.some((value, j) => value !== all[j])).toBe(true)
      seen.add(grads.slice(0, 40).join())
    }
    expect(seen.size).toBeGreaterThan(3)
  })

  it('takes frames in the order of time, one mask of dropout for all of them, and tells firing rates', () => {
    const network = sequential([dense(12), lif(), dropout(0.5), dense(classes)]) as Layer
    const learner = sltt({ network, classes, steps: 3, input: 'frames', mseTarget: 'onehot' })
    const data = { x: uniform(key(1), [8, 3, width], { low: 0, high: 2 }), y: sample().y }
    const { tensors } = learner.init(key(0), data, undefined)
    const step = compile((state: SlttState, b: typeof data, k: Key) => learner.step(state, b, k))
    expect(Number.isFinite(step(tensors, data, key(1)).metrics.loss.dataSync()[0])).toBe(true)
    const [rate] = Object.values(learner.firingRates(tensors, data.x)).map((r) => r.dataSync()[0])
    expect(rate).toBeGreaterThan(0)
    expect(rate).toBeLessThan(1)
    const single = learner.stepLogits(tensors, tf.reverse(data.x, 1))
    expect(worst(single, learner.stepLogits(tensors, data.x))).toBeGreaterThan(0)
  })

  it('a firing rate is the share of steps with a spike', () => {
    const network = sequential([lif({ tau: 2 }), dense(2)]) as Layer
    const x = tf.tensor2d([[0.6], [0.6]])
    const learner = sltt({ network, classes: 2, steps: 3 })
    const { tensors } = learner.init(key(0), { x, y: tf.tensor1d([0, 1], 'int32') }, undefined)
    expect(Object.values(learner.firingRates(tensors, x)).map((rate) => rate.dataSync()[0])).toEqual([expect.closeTo(1 / 3, 6)])
  })

  it('learns in which direction a bar moves through frames with salt noise', async () => {
    const [count, steps, size] = [64, 10, 16]
    const noise = uniformArray(key(8), count * steps * size * size)
    const bars = { data: noise.map((u) => (u < 0.05 ? 1 : 0)), shape: [count, steps, size, size, 1] }
    const directions = Int32Array.from({ length: count }, (_, i) => i % 4)
    const starts = uniformArray(key(9), count).map((u) => Math.floor(u * size))
    for (let i = 0; i < count; i++) {
      for (let t = 0; t < steps; t++) {
        for (let along = 0; along < size; along++) {
          for (const width of [0, 1]) {
            const across = (starts[i] + (directions[i] % 2 === 0 ? t : -t) + width + 2 * size) % size
            const [row, column] = directions[i] < 2 ? [along, across] : [across, along]
            bars.data[((i * steps + t) * size + row) * size + column] = 1
          }
        }
      }
    }
    const conv = (channels: number) => [conv2d(channels, { kernelSize: 3, padding: 1 }), batchNorm(), lif({ tau: 2 }), avgPool(2)]
    const network = sequential([...conv(4), ...conv(8), flatten(), dense(4)] as Layer[]) as Layer
    const learner = sltt({ network, classes: 4, steps, input: 'frames' })
    const x = tf.tensor(bars.data, bars.shape)
    const losses: number[] = []
    const model = await fitClassifier(learner, bars, directions, {
      epochs: 6,
      batchSize: 32,
      reporter: { report: (event) => event.type === 'step' && losses.push(event.metrics.loss) },
    })
    expect(losses).toHaveLength(12)
    expect(losses[11]).toBeLessThan(losses[0])
    expect((await model.predictProba(bars)).length).toBe(count * 4)
    const { tensors } = learner.init(key(0), { x, y: tf.tensor1d(directions, 'int32') }, undefined)
    const logits = learner.stepLogits(tensors, x)
    expect(logits.shape).toEqual([steps, count, 4])
    // Potentials of one pass do not reach the next.
    expect(worst(logits, learner.stepLogits(tensors, x))).toBe(0)
    model.dispose()
  })

  it.each(['sltt', 'slttk', 'bptt'] as const)('%s learns separated patterns', async (mode) => {
    const model = await fitClassifier(method({ mode, steps: 4 }), images, labels, { epochs: 20, batchSize: 24 })
    expect(await model.score(images, labels)).toBeGreaterThan(0.9)
    model.dispose()
  })

  it('trains the networks of the paper, small', () => {
    const image = { x: normal(key(2), [2, 16, 16, 2]), y: tf.tensor1d([0, 1], 'int32') }
    for (const network of [
      spikingResnet18({ classes: 2, width: 4 }),
      spikingVgg11({ classes: 2, width: 4 }),
      normFreeSpikingResnet({ classes: 2, width: 4, depth: 18 }),
    ]) {
      const learner = sltt({ network, classes: 2, steps: 2 })
      const { tensors } = learner.init(key(0), image, undefined)
      tf.tidy(() => {
        const { tensors: next, metrics } = learner.step(tensors, image, key(1))
        expect(Number.isFinite(metrics.loss.dataSync()[0])).toBe(true)
        expect(worst(next.params, tensors.params)).toBeGreaterThan(0)
        return undefined as unknown as tf.TensorContainer
      })
    }
  })

  it('pools every image to 7 × 7 before the readout of VGG-11', () => {
    const kernels = tree.leaves(spikingVgg11({ classes: 2, width: 1 }).init(key(0), [32, 32, 2]).params).filter(({ rank }) => rank === 2)
    expect(kernels.map(({ shape }) => shape)).toEqual([[7 * 7 * 8, 2]])
  })

  it('names bad options', () => {
    expect(() => method({ steps: 0 })).toThrow('steps must be an integer of at least 1, got 0')
    expect(() => method({ mode: 'slttk', trainedSteps: 7 })).toThrow('trainedSteps must be an integer in [1, 6], got 7')
    expect(() => lif({ tau: 0.9 })).toThrow('tau must be at least 1, got 0.9')
    expect(() => lif({ threshold: 0 })).toThrow('threshold must be positive')
    expect(() => lif({ surrogate: 'step' as Surrogate })).toThrow("unknown surrogate 'step'")
    expect(() => method({ input: 'film' as 'frames' })).toThrow("input must be 'static' or 'frames'")
    expect(() => method({ input: 'frames' })).toThrow("encoder runs once, for input 'static'")
    expect(() => method({ mode: 'slttk' }).gradients(start(), sample())).toThrow(
      'slttk draws the steps that train, so gradients needs a key',
    )
    const learner = sltt({ network: sequential([lif(), dense(classes)]) as Layer, classes, steps: 3, input: 'frames' })
    expect(() => learner.init(key(0), { x: tf.zeros([2, 4, width]), y: tf.zeros([2], 'int32') }, undefined)).toThrow(
      'expected T=3 time steps, got 4',
    )
    expect(() => method({ network: sequential([lif(), dense(3)]) as Layer }).init(key(0), sample(), undefined)).toThrow(
      'expected [4] logits',
    )
  })

  it('asks for input where x may be an image or frames', () => {
    const network = sequential([flatten(), lif(), dense(classes)]) as Layer
    const ask = (options: Partial<SlttOptions>, height: number) => () =>
      sltt({ network, classes, steps: 3, ...options }).init(key(0), { x: tf.zeros([2, height, 4]), y: tf.zeros([2], 'int32') }, undefined)
    expect(ask({}, 3)).toThrow("x [n, 3, 4] may be an image or T=3 frames; say which: input: 'static' or input: 'frames'")
    expect(ask({}, 5)).not.toThrow()
    expect(ask({ input: 'static' }, 3)).not.toThrow()
    expect(ask({ input: 'frames' }, 3)).not.toThrow()
  })

  it('refuses labels out of range', async () => {
    await expect(
      fitClassifier(
        method(),
        images,
        labels.map((label) => label + 1),
        { epochs: 1, batchSize: 24 },
      ),
    ).rejects.toThrow('out of range')
  })
})

describe('eventFrames', () => {
  const events = { x: [0, 3, 1, 1, 2], y: [0, 1, 0, 0, 1], polarity: [1, 0, 1, 1, 0], time: [0, 1, 2, 9, 10] }
  const sensor = { steps: 2, height: 2, width: 4 }
  /** Non-zero counts as [t, row, column, polarity, count]. */
  const counts = ({ data, shape: [, rows, columns] }: ReturnType<typeof eventFrames>) =>
    [...data].flatMap((count, i) =>
      count === 0
        ? []
        : [[Math.floor(i / (2 * rows * columns)), Math.floor(i / (2 * columns)) % rows, Math.floor(i / 2) % columns, i % 2, count]],
    )

  it('cuts by equal numbers of events, the last frame with what is left', () => {
    const frames = eventFrames(events, sensor)
    expect(frames.shape).toEqual([2, 2, 4, 2])
    expect(counts(frames)).toEqual([
      [0, 0, 0, 1, 1],
      [0, 1, 3, 0, 1],
      [1, 0, 1, 1, 2],
      [1, 1, 2, 0, 1],
    ])
  })

  it('cuts by equal times', () => {
    expect(counts(eventFrames(events, { ...sensor, by: 'time' }))).toEqual([
      [0, 0, 0, 1, 1],
      [0, 0, 1, 1, 1],
      [0, 1, 3, 0, 1],
      [1, 0, 1, 1, 1],
      [1, 1, 2, 0, 1],
    ])
  })

  it('adds neighbouring pixels in smaller frames', () => {
    expect(counts(eventFrames(events, { ...sensor, steps: 1, size: [1, 2] }))).toEqual([
      [0, 0, 0, 1, 3],
      [0, 0, 1, 0, 2],
    ])
  })

  it('names bad events and options', () => {
    expect(() => eventFrames({ ...events, y: [0] }, sensor)).toThrow('x has 5 events, y 1, polarity 5')
    expect(() => eventFrames(events, { ...sensor, width: 3 })).toThrow('event 1 is at row 1, column 3, outside the sensor of 2 × 3')
    expect(() => eventFrames(events, { ...sensor, steps: 0 })).toThrow('steps must be a positive integer, got 0')
    expect(() => eventFrames(events, { ...sensor, size: [4, 4] })).toThrow('must be at most')
    expect(() => eventFrames({ ...events, time: undefined }, { ...sensor, by: 'time' })).toThrow("needs the events' times")
  })
})
