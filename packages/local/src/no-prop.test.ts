import { account, activationBytes, compile, fit, isBpfError, random, tree, useBackend, valueAndGrad, type Key, type Tree } from '@bpf/core'
import { batch, fromArrays } from '@bpf/core/data'
import { dense, flatten, sequential } from '@bpf/core/nn'
import { adam, adamw, chain, clipByGlobalNorm, sgd } from '@bpf/core/optim'
import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import { fitClassifier } from './classifier'
import {
  noProp,
  noPropAdjoint,
  noPropBackpropagation,
  noPropBlock,
  noPropCoefficients,
  noPropConvBlock,
  noPropCosineSchedule,
  noPropDenseBlock,
  type NoPropClassifier,
  type NoPropOptions,
  type NoPropState,
} from './no-prop'
import { timeFeatures } from './no-prop/block'
import { classPrototypes, learnedEmbedding } from './no-prop/embedding'
import { integrate, loop } from './no-prop/integrate'
import { chainCoefficients, initLogSnr, logSnrAt, signalShares, type LogSnrParams } from './no-prop/log-snr'
import {
  affineLogits,
  denoisingStep,
  expectedEmbedding,
  meanCrossEntropy,
  meanSquaredDistance,
  noisyEmbedding,
  odeVelocity,
  sdeDrift,
} from './no-prop/objective'
import { oneHot } from './shared/labelled'

beforeAll(() => useBackend('onnx'))

const block = noPropDenseBlock({ x: [16], z: [8], time: 8, trunk: [16] })
const rows = 192
const y = Int32Array.from({ length: rows }, (_, i) => i % 3)

/** Three Gaussian clouds in the plane at distance 2 from the origin. */
function clouds(stddev: number) {
  const noise = random.normalArray(random.key(3), 2 * rows, { stddev })
  const at = (i: number) => (2 * Math.PI * y[i >> 1]) / 3
  return { data: noise.map((value, i) => value + 2 * (i % 2 === 0 ? Math.cos(at(i)) : Math.sin(at(i)))), shape: [rows, 2] }
}
const separated = clouds(0.3)

const uniforms = (seed: number, count: number) => random.uniformArray(random.key(seed), count)
const image = (n: number, size: number) => tf.tensor4d(random.uniformArray(random.key(5), n * size * size), [n, size, size, 1])

describe('schedule', () => {
  const alphaBars = [noPropCosineSchedule({ steps: 10 }), Float64Array.from(uniforms(1, 30)).sort(), Float64Array.of(1e-6, 0.5, 1 - 1e-6)]

  it('oracle 1: a²/c is the increase of the signal-to-noise ratio, to 1e-10, for any increasing ᾱ', () => {
    for (const alphaBar of alphaBars) {
      const { a, c, snrIncrease } = noPropCoefficients(alphaBar)
      a.forEach((value, i) => expect(Math.abs(value ** 2 / c[i] / snrIncrease[i] - 1)).toBeLessThan(1e-10))
    }
  })

  it('oracle 2: with a perfect denoiser the chain keeps the mean √ᾱ u and the variance 1 − ᾱ exactly', () => {
    for (const alphaBar of alphaBars) {
      const { a, b, c } = noPropCoefficients(alphaBar)
      a.forEach((value, i) => {
        expect(value + b[i] * Math.sqrt(alphaBar[i])).toBeCloseTo(Math.sqrt(alphaBar[i + 1]), 12)
        expect(b[i] ** 2 * (1 - alphaBar[i]) + c[i]).toBeCloseTo(1 - alphaBar[i + 1], 12)
      })
    }
  })

  it('oracle 5: the weights of DT telescope, and their limit in CT integrates to the same', async () => {
    const { snr, snrIncrease } = noPropCoefficients(alphaBars[0])
    const sum = snrIncrease.reduce((total, value) => total + value, 0)
    expect(sum / (snr[10] - snr[0])).toBeCloseTo(1, 12)
    const N = 20_000
    for (const params of [undefined, initLogSnr(random.key(2))]) {
      const integral = (times: tf.Tensor) => tf.mean(signalShares(logSnrAt(params, times)).snrSlope)
      const [value] = await integral(tf.tensor1d(Float32Array.from({ length: N }, (_, i) => (i + 0.5) / N))).data()
      expect(value / (Math.exp(7) - Math.exp(-7))).toBeCloseTo(1, 4)
    }
  })

  it('the learned schedule rises from γ_0 to γ_1, and its slope is the derivative', async () => {
    const params = initLogSnr(random.key(4))
    const N = 200
    const { gamma, slope } = logSnrAt(params, tf.tensor1d(Float32Array.from({ length: N + 1 }, (_, i) => i / N)))
    const [values, slopes] = await Promise.all([gamma.data(), slope.data()])
    expect(values[0]).toBeCloseTo(-7, 5)
    expect(values[N]).toBeCloseTo(7, 5)
    for (let i = 1; i < N; i++) {
      expect(values[i]).toBeGreaterThan(values[i - 1])
      expect(((values[i + 1] - values[i - 1]) * N) / 2 / slopes[i]).toBeCloseTo(1, 2)
    }
  })

  it('the coefficients between close times agree with those of DT in double precision', async () => {
    const gammas = Float64Array.from({ length: 1001 }, (_, i) => -7 + 0.014 * i)
    const expected = noPropCoefficients(gammas.map((gamma) => 1 / (1 + Math.exp(-gamma))))
    const computed = chainCoefficients(tf.tensor1d(Float32Array.from(gammas)))
    for (const name of ['a', 'b', 'c'] as const) {
      const values = await computed[name].data()
      values.forEach((value, i) => expect(Math.abs(value / expected[name][i] - 1)).toBeLessThan(2e-4))
    }
  })
})

describe('DT', () => {
  const sample = () => ({ x: tf.tensor2d(separated.data.slice(0, 64), [32, 2]), y: tf.tensor1d(y.slice(0, 32), 'int32') })
  const begin = (method: NoPropClassifier) => method.init(random.key(1), sample(), undefined).tensors

  it('oracle 3: a block’s step does not depend on other blocks, and blocks trained in any order are bit-equal', () => {
    const method = noProp({ classes: 3, steps: 4, block, blocksAtOnce: 1 })
    const start = begin(method)
    const train = (order: readonly number[], from: NoPropState) =>
      order.reduce((state, index) => method.stepBlock(state, index, sample(), random.key(9)), from)
    const values = (state: NoPropState, index: number) => tree.leaves(state.blocks[index]).map((leaf) => Array.from(leaf.dataSync()))
    const forward = train([0, 1, 2, 3], start)
    const backward = train([2, 3, 1, 0], start)
    const whole = method.step(start, sample(), random.key(9)).tensors
    const disturbed = train([2], {
      ...start,
      blocks: start.blocks.map((bank, i) => (i === 2 ? bank : tree.map((leaf) => tf.add(leaf, 7), bank))),
    })
    for (const index of [0, 1, 2, 3]) {
      expect(values(backward, index)).toEqual(values(forward, index))
      expect(values(whole, index)).toEqual(values(forward, index))
      expect(values(forward, index)).not.toEqual(values(start, index))
    }
    expect(values(disturbed, 2)).toEqual(values(forward, 2))
  })

  it('stacked blocks: each learns the same whatever the others are, and the same as alone', () => {
    const stacked = noProp({ classes: 3, steps: 4, block })
    const alone = noProp({ classes: 3, steps: 4, block, blocksAtOnce: 1 })
    const start = begin(stacked)
    const third = tf.tensor1d([0, 0, 1, 0])
    const disturb = (leaf: tf.Tensor) => tf.add(leaf, tf.reshape(tf.sub(1, third), [4, ...leaf.shape.slice(1).map(() => 1)]))
    const other = { ...start, blocks: [tree.map(disturb, start.blocks[0])] }
    const thirdOf = (state: NoPropState) => tree.leaves(state.blocks[0].params).map((leaf) => Array.from(tf.unstack(leaf)[2].dataSync()))
    const [now, then] = [stacked, stacked].map((method, i) => method.step(i === 0 ? start : other, sample(), random.key(9)))
    expect(thirdOf(then.tensors)).toEqual(thirdOf(now.tensors))
    const single = alone.step(begin(alone), sample(), random.key(9))
    const leaves = tree.leaves(single.tensors.blocks[2].params)
    thirdOf(now.tensors).forEach((values, i) => {
      const expected = leaves[i].dataSync()
      values.forEach((value, k) => expect(Math.abs(value - expected[k])).toBeLessThan(1e-6))
    })
    expect(now.metrics.loss.dataSync()[0]).toBeCloseTo(single.metrics.loss.dataSync()[0], 5)
    expect(Object.keys(now.metrics)).toEqual(['loss', 'crossEntropy', 'kl', 'block1', 'block2', 'block3', 'block4'])
  })

  it('a trained embedding learns the same with blocks stacked and one after the other', () => {
    const options = { classes: 3, steps: 4, block, embedding: 'learned' } as const
    const [stacked, alone] = [noProp(options), noProp({ ...options, blocksAtOnce: 1 })].map((method) => {
      const start = begin(method)
      const { tensors } = method.step(start, sample(), random.key(9))
      return [start.embedding, tensors.embedding, tensors.optimizer as { embedding: { mean: [tf.Tensor] } }] as const
    })
    const gradients = [stacked, alone].map(([, , { embedding }]) => embedding.mean[0].dataSync())
    const largest = Math.max(...gradients[0].map(Math.abs))
    expect(largest).toBeGreaterThan(0)
    gradients[0].forEach((value, i) => expect(Math.abs(value - gradients[1][i])).toBeLessThan(1e-5 * largest))
    expect(Array.from(stacked[0].dataSync())).toEqual(Array.from(alone[0].dataSync()))
  })

  it('oracle 4: certain logits of the right class with one-hot embeddings have denoising loss 0', () => {
    const u = oneHot(tf.tensor1d(y, 'int32'), 3)
    const logits = tf.mul(1e30, tf.sub(tf.mul(u, 2), 1))
    expect(meanSquaredDistance(expectedEmbedding(logits, tf.eye(3)), u).dataSync()[0]).toBe(0)
  })

  const fitted = (X: { data: Float32Array; shape: number[] }, inference: 'mean' | 'noisy', samples = 1) =>
    fitClassifier(
      noProp({
        classes: 3,
        block,
        inference,
        samples,
        optimizer: adamw({ learningRate: 0.01 }),
        readoutOptimizer: adam({ learningRate: 0.05 }),
      }),
      X,
      y,
      { epochs: 30, batchSize: 32 },
    )
  const equalShare = (a: Int32Array, b: Int32Array) => a.filter((label, i) => label === b[i]).length / a.length

  it('oracle 8: without noise a seed decides; with noise seeds agree on separated clouds and not on overlapping ones', async () => {
    const before = tf.memory().numTensors
    const mean = await fitted(separated, 'mean')
    expect(await mean.score(separated, y)).toBeGreaterThan(0.95)
    const at = (seed: number) => ({ key: random.key(seed) })
    expect(await mean.predictProba(separated, at(1))).toEqual(await mean.predictProba(separated, at(1)))
    mean.dispose()
    const noisy = await fitted(separated, 'noisy')
    expect(await noisy.predictProba(separated, at(1))).not.toEqual(await noisy.predictProba(separated, at(2)))
    expect(equalShare(await noisy.predict(separated, at(1)), await noisy.predict(separated, at(2)))).toBeGreaterThanOrEqual(0.95)
    noisy.dispose()
    const overlapping = clouds(2)
    const blurred = await fitted(overlapping, 'noisy')
    expect(equalShare(await blurred.predict(overlapping, at(1)), await blurred.predict(overlapping, at(2)))).toBeLessThan(0.95)
    blurred.dispose()
    expect(tf.memory().numTensors).toBe(before)
  })

  it('averages probabilities over runs', async () => {
    const overlapping = clouds(2)
    const one = await fitted(overlapping, 'noisy')
    const method = noProp({ classes: 3, block, inference: 'noisy', samples: 8 })
    const x = tf.tensor2d(overlapping.data, [rows, 2])
    const { tensors } = one.state
    const single = noProp({ classes: 3, block, inference: 'noisy' })
    const key = random.key(4)
    const runs = Array.from({ length: 8 }, (_, i) => single.predict(tensors, x, random.fold(key, i)))
    const average = tf.div(tf.addN(runs), 8)
    expect(tf.max(tf.abs(tf.sub(method.predict(tensors, x, key), average))).dataSync()[0]).toBeLessThan(1e-5)
    one.dispose()
  })

  it('oracle 10: predictions never read labels', async () => {
    const method = noProp({ classes: 3, block, steps: 4 })
    const { tensors } = method.init(random.key(1), sample(), undefined)
    const x = tf.tensor2d(separated.data, [rows, 2])
    const predicted = tf.argMax(method.predict(tensors, x, random.key(2)), 1).dataSync()
    for (const shift of [0, 1, 2]) {
      const labels = y.map((label) => (label + shift) % 3)
      const result = method.evaluate?.(tensors, { x, y: tf.tensor1d(labels, 'int32') }, tf.ones([rows]), random.key(2))
      expect(result?.sums.accuracy.dataSync()[0]).toBe(labels.filter((label, i) => label === predicted[i]).length)
    }
  })

  it('the trajectory runs from noise to what the readout reads', () => {
    const method = noProp({ classes: 3, block, steps: 4 })
    const tensors = begin(method)
    const { x } = sample()
    const path = method.trajectory(tensors, x, random.key(2))
    expect(path.shape).toEqual([5, 32, 3])
    const [{ kernel, bias }] = tensors.readout
    const read = tf.softmax(tf.add(tf.matMul(tf.unstack(path)[4], kernel), bias))
    expect(tf.max(tf.abs(tf.sub(read, method.predict(tensors, x, random.key(2))))).dataSync()[0]).toBeLessThan(1e-6)
  })
})

describe('memory and work', () => {
  const wide = noPropDenseBlock({ x: [64], z: [32], trunk: [32] })
  const perExample = (method: NoPropClassifier) => {
    const dataOf = (n: number) => ({ x: tf.zeros([n, 100]), y: tf.zeros([n], 'int32') })
    const { tensors } = method.init(random.key(0), dataOf(2), undefined)
    const step = (state: NoPropState, data: ReturnType<typeof dataOf>, key: Key) => method.step(state, data, key)
    return activationBytes(step, (n): Parameters<typeof step> => [tensors, dataOf(n), random.key(0)])
  }

  it('oracle 9: activations of a step do not grow with T, block after block; those of backpropagation do', () => {
    const local = (steps: number) => perExample(noProp({ classes: 10, block: wide, steps, blocksAtOnce: 1 }))
    const whole = (steps: number) => perExample(noPropBackpropagation({ classes: 10, block: wide, steps }))
    expect(local(16) / local(4)).toBeLessThan(1.1)
    expect(whole(16) / whole(4)).toBeGreaterThan(3)
    expect(whole(16) / local(16)).toBeGreaterThan(8)
  })

  it('inference computes the path of x once, whatever the steps', () => {
    const x = tf.zeros([8, 100])
    const work = (variant: 'ct' | 'fm', steps: number) => {
      const method = noProp({ variant, classes: 10, block: wide, steps })
      const { tensors } = method.init(random.key(0), { x, y: tf.zeros([8], 'int32') }, undefined)
      return account((state: NoPropState, inputs: tf.Tensor, key: Key) => method.predict(state, inputs, key), tensors, x, random.key(0))
        .multiplyAdds
    }
    for (const variant of ['ct', 'fm'] as const) {
      // Of z: 10·32 + 32·32, and the output 32·10, for 8 rows; of each time, one row 64·64 + 64·32.
      expect(work(variant, 30) - work(variant, 20)).toBe(10 * (8 * (10 * 32 + 32 * 32 + 32 * 10) + 64 * 64 + 64 * 32))
    }
  })
})

describe('CT and FM', () => {
  let [u, noise]: tf.Tensor[] = []
  beforeAll(() => {
    u = tf.tensor2d([1, 0, 0, 0, 1, 0], [2, 3])
    noise = tf.tensor2d(random.normalArray(random.key(6), 6), [2, 3])
  })

  /** Largest distance of Heun's end from √ᾱ(1) u + √(1 − ᾱ(1)) ε, with û ≡ u from √ᾱ(0) u + √(1 − ᾱ(0)) ε. */
  async function heunError(steps: number) {
    const solve = compile(
      (target: tf.Tensor, eps: tf.Tensor) => {
        const at = (times: tf.Tensor) => {
          const { gamma, slope } = logSnrAt(undefined, times)
          return { alphaBar: tf.sigmoid(gamma), slope }
        }
        const exact = (gamma: number) => noisyEmbedding(target, eps, 1 / (1 + Math.exp(-gamma)))
        const velocity = (z: tf.Tensor, now: ReturnType<typeof at>) => odeVelocity(z, target, now.alphaBar, now.slope)
        const { end } = integrate(velocity, at, exact(-7), { steps, solver: 'heun', keepPath: false })
        return tf.max(tf.abs(tf.sub(end, exact(7))))
      },
      { precision: 'float64' },
    )
    const [error] = await solve(u, noise).data()
    return error
  }

  it('oracle 6: the probability flow with a perfect denoiser follows the exact solution; halving the step cuts the error 3×', async () => {
    const errors = [await heunError(100), await heunError(200), await heunError(400)]
    expect(errors[1]).toBeLessThan(1e-3)
    expect(errors[0] / errors[1]).toBeGreaterThan(3)
    expect(errors[1] / errors[2]).toBeGreaterThan(3)
  })

  it('oracle 7: one Euler step of the perfect flow lands on the embedding', () => {
    const velocity = () => tf.sub(u, noise)
    const { end, path } = integrate(velocity, (times) => times, noise, { steps: 1, solver: 'euler', keepPath: true })
    expect(tf.max(tf.abs(tf.sub(end, u))).dataSync()[0]).toBeLessThan(1e-6)
    expect(path?.shape).toEqual([2, 2, 3])
  })

  it('with a perfect denoiser all samplers end at N(√ᾱ(1) u, 1 − ᾱ(1))', async () => {
    const steps = 400
    const n = 4000
    const target = tf.tile(tf.tensor2d([[1, 0]]), [n, 1])
    const times = (length: number) => tf.tensor1d(Array.from({ length }, (_, i) => i / steps))
    const z0 = random.normal(random.key(1), [n, 2])
    const key = random.key(2)
    const ancestral = loop(
      (z, { a, b, c }, stepKey) => denoisingStep(z, target, a, b, c, random.normal(stepKey as Key, [n, 2])),
      z0,
      chainCoefficients(logSnrAt(undefined, times(steps + 1)).gamma),
      false,
      key,
    )
    const shares = (t: tf.Tensor) => {
      const { gamma, slope } = logSnrAt(undefined, t)
      return { alphaBar: tf.sigmoid(gamma), oneMinus: tf.sigmoid(tf.neg(gamma)), slope }
    }
    const sde = loop(
      (z, { alphaBar, oneMinus, slope }, stepKey) =>
        tf.add(
          tf.add(z, tf.div(sdeDrift(z, target, alphaBar, slope), steps)),
          tf.mul(tf.sqrt(tf.div(tf.mul(slope, oneMinus), steps)), random.normal(stepKey as Key, [n, 2])),
        ),
      z0,
      shares(times(steps)),
      false,
      key,
    )
    const ode = integrate((z, { alphaBar, slope }) => odeVelocity(z, target, alphaBar, slope), shares, z0, {
      steps,
      solver: 'heun',
      keepPath: false,
    })
    const alphaBar = 1 / (1 + Math.exp(-7))
    for (const { end } of [ancestral, sde, ode]) {
      const { mean, variance } = tf.moments(end, 0)
      expect(tf.max(tf.abs(tf.sub(mean, [Math.sqrt(alphaBar), 0]))).dataSync()[0]).toBeLessThan(5e-3)
      const ratios = await tf.div(variance, 1 - alphaBar).data()
      ratios.forEach((ratio) => expect(Math.abs(ratio - 1)).toBeLessThan(0.1))
    }
  })

  const quick: Record<string, NoPropOptions> = {
    'CT ancestral': { variant: 'ct', classes: 3, steps: 50, block },
    'CT ancestral with noise': { variant: 'ct', classes: 3, steps: 50, block, inference: 'noisy' },
    'CT sde': { variant: 'ct', classes: 3, steps: 100, block, sampler: 'sde', inference: 'noisy' },
    'CT ode': { variant: 'ct', classes: 3, steps: 50, block, sampler: 'ode' },
    'FM, learned embedding': { variant: 'fm', classes: 3, steps: 20, block, embedding: 'learned', embeddingSize: 4 },
    'FM, one-hot, nearest embedding': { variant: 'fm', classes: 3, steps: 20, block, readout: 'radial' },
    'FM, one-hot, affine readout, Runge–Kutta': { variant: 'fm', classes: 3, steps: 5, block, solver: 'rk4' },
    'CT, learned embedding, linear schedule, Heun': {
      variant: 'ct',
      classes: 3,
      steps: 20,
      block,
      embedding: 'learned',
      schedule: 'linear',
      sampler: 'ode',
      solver: 'heun',
    },
  }
  for (const [name, options] of Object.entries(quick)) {
    it(`${name} learns separated clouds`, async () => {
      const optimizer = chain(clipByGlobalNorm(1), adam({ learningRate: 0.02 }))
      const model = await fitClassifier(noProp({ ...options, optimizer } as NoPropOptions), separated, y, { epochs: 50, batchSize: 32 })
      expect(await model.score(separated, y)).toBeGreaterThan(0.95)
      model.dispose()
    })
  }
})

describe('the adjoint baseline of CT', () => {
  const data = () => ({ x: tf.tensor2d(separated.data.slice(0, 64), [32, 2]), y: tf.tensor1d(y.slice(0, 32), 'int32') })
  const options = { classes: 3, block, embedding: 'learned', embeddingSize: 4 } as const

  it('has the gradient of backpropagation through the flow, up to its steps', async () => {
    const method = (steps: number) => noPropAdjoint({ ...options, steps, optimizer: sgd({ learningRate: 1 }) })
    const { tensors } = method(1).init(random.key(1), data(), undefined)
    const key = random.key(2)
    // A step of gradient descent with rate 1 is minus the gradient.
    const adjoint = (steps: number) => {
      const { tensors: next } = compile((state: NoPropState, batchOf: ReturnType<typeof data>, k: Key) =>
        method(steps).step(state, batchOf, k),
      )(tensors, data(), key)
      const parts = ({ blocks, embedding, schedule }: NoPropState): Tree => ({ params: blocks[0].params, embedding, schedule })
      return tree.map((before, after) => tf.sub(before, after), parts(tensors), parts(next))
    }
    const exact = compile((state: NoPropState, { x, y: labels }: ReturnType<typeof data>) => {
      const trained = { params: state.blocks[0].params, embedding: state.embedding, schedule: state.schedule as readonly LogSnrParams[] }
      return valueAndGrad(({ params, embedding, schedule }: typeof trained) => {
        const encoded = block.encode(params.encoder, [], x, { training: true }).y
        const at = (times: tf.Tensor) => {
          const { gamma, slope } = logSnrAt(schedule[0], times)
          return { time: tf.expandDims(block.encodeTime(params.denoiser, timeFeatures(times)), 1), alphaBar: tf.sigmoid(gamma), slope }
        }
        const velocity = (z: tf.Tensor, { time, alphaBar, slope }: ReturnType<typeof at>) =>
          odeVelocity(
            z,
            expectedEmbedding(block.denoise(params.denoiser, [], encoded, z, time, { training: true }).y, embedding),
            alphaBar,
            slope,
          )
        const z0 = random.normal(random.fold(key, 0), [32, 4])
        const { end } = integrate(velocity, at, z0, { steps: 3000, solver: 'heun', keepPath: false })
        return meanCrossEntropy(labels, affineLogits(end, state.readout[0]))
      })(trained).grads
    })(tensors, data())
    const size = tree.norm(exact).dataSync()[0]
    const distance = (steps: number) => tree.norm(tree.map((a, b) => tf.sub(a, b), adjoint(steps), exact as Tree)).dataSync()[0] / size
    const [coarse, fine] = [distance(750), distance(3000)]
    expect(fine).toBeLessThan(0.02)
    expect(coarse / fine).toBeGreaterThan(3)
  })

  it('keeps no step in memory, and learns separated clouds', async () => {
    const bytes = (steps: number) => {
      const method = noPropAdjoint({ ...options, steps })
      const dataOf = (n: number) => ({ x: tf.zeros([n, 2]), y: tf.zeros([n], 'int32') })
      const { tensors } = method.init(random.key(0), dataOf(2), undefined)
      const step = (state: NoPropState, batchOf: ReturnType<typeof dataOf>, key: Key) => method.step(state, batchOf, key)
      return activationBytes(step, (n): Parameters<typeof step> => [tensors, dataOf(n), random.key(0)])
    }
    expect(bytes(64) / bytes(4)).toBeLessThan(1.01)
    const optimizer = chain(clipByGlobalNorm(1), adam({ learningRate: 0.02 }))
    const model = await fitClassifier(noPropAdjoint({ ...options, steps: 20, optimizer }), separated, y, { epochs: 20, batchSize: 32 })
    expect(await model.score(separated, y)).toBeGreaterThan(0.95)
    model.dispose()
  })
})

describe('embeddings and blocks', () => {
  it('a prototype is the input with the smallest median distance to its class', async () => {
    const x = uniforms(8, 12 * 2)
    const labels = Int32Array.from({ length: 12 }, (_, i) => (i < 7 ? 0 : 1))
    const { values, size } = (await classPrototypes(batch(fromArrays({ x: { data: x, shape: [12, 2] }, y: labels }), 5), 2, {})) ?? {}
    expect(size).toBe(2)
    for (const label of [0, 1]) {
      const members = Array.from(labels.keys()).filter((i) => labels[i] === label)
      const distance = (i: number, j: number) => Math.hypot(x[2 * i] - x[2 * j], x[2 * i + 1] - x[2 * j + 1])
      const medians = members.map((i) => {
        const sorted = members.filter((j) => j !== i).map((j) => distance(i, j))
        sorted.sort((a, b) => a - b)
        const half = sorted.length / 2
        return Number.isInteger(half) ? (sorted[half - 1] + sorted[half]) / 2 : sorted[Math.floor(half)]
      })
      const best = members[medians.indexOf(Math.min(...medians))]
      expect(Array.from(values?.slice(2 * label, 2 * label + 2) ?? [])).toEqual(Array.from(x.slice(2 * best, 2 * best + 2)))
    }
  })

  it('a learned embedding starts orthogonal, or normalised with a warning where d < C', () => {
    const gram = (W: tf.Tensor) => tf.matMul(W, W, false, true)
    const distance = (a: tf.Tensor, b: tf.Tensor) => tf.max(tf.abs(tf.sub(a, b))).dataSync()[0]
    const warnings: string[] = []
    const warn = (message: string) => void warnings.push(message)
    expect(distance(gram(learnedEmbedding(random.key(1), 4, 6, warn)), tf.eye(4))).toBeLessThan(1e-6)
    expect(warnings).toEqual([])
    const short = tf.unstack(tf.reshape(gram(learnedEmbedding(random.key(1), 4, 2, warn)), [16]))
    for (const i of [0, 5, 10, 15]) expect(short[i].dataSync()[0]).toBeCloseTo(1, 5)
    expect(warnings[0]).toContain('embeddingSize 2 is below the 4 classes')
  })

  it('the paper’s convolutional block trains in every variant, prototypes through convolutions', async () => {
    const size = 8
    const images = { data: random.uniformArray(random.key(7), 12 * size * size), shape: [12, size, size, 1] }
    const labels = Int32Array.from({ length: 12 }, (_, i) => i % 3)
    const data = () => batch(fromArrays({ x: images, y: labels }), 6)
    const plain = noPropConvBlock()
    const options: NoPropOptions[] = [
      { classes: 3, steps: 2, block: plain },
      { classes: 3, steps: 2, block: noPropConvBlock({ prototype: [size, size, 1] }), embedding: 'prototype' },
      { variant: 'ct', classes: 3, steps: 2, block: plain },
      { variant: 'fm', classes: 3, steps: 2, block: plain, embedding: 'learned' },
    ]
    for (const each of options) {
      const method = noProp(each)
      const { state, history } = await fit(method, data(), { epochs: 1 })
      expect(Number.isFinite(history[0].metrics.loss)).toBe(true)
      const x = image(4, size)
      const sums = await tf.sum(method.predict(state.tensors, x), 1).data()
      sums.forEach((sum) => expect(sum).toBeCloseTo(1, 5))
      tree.dispose(state.tensors)
    }
  })

  it('batch statistics are kept for inference', () => {
    const method = noProp({ classes: 3, steps: 2, block: noPropConvBlock() })
    const data = { x: image(6, 8), y: tf.tensor1d([0, 1, 2, 0, 1, 2], 'int32') }
    const { tensors } = method.init(random.key(0), data, undefined)
    const next = method.step(tensors, data, random.key(1)).tensors
    const values = (state: NoPropState) => tree.leaves(state.blocks[1].state).map((leaf) => Array.from(leaf.dataSync()))
    expect(values(next)).not.toEqual(values(tensors))
    const whole = noPropBackpropagation({ classes: 3, steps: 2, block: noPropConvBlock() })
    const start = whole.init(random.key(0), data, undefined).tensors
    expect(values(whole.step(start, data, random.key(1)).tensors)).not.toEqual(values(start))
  })

  it('a block may put out a vector of the embedding’s length itself', async () => {
    const vector = noPropBlock({ x: dense(8), z: dense(8), trunk: dense(5), output: 'trunk' })
    const method = noProp({ classes: 3, steps: 3, block: vector, embedding: 'learned', embeddingSize: 5 })
    const model = await fitClassifier(method, separated, y, { epochs: 2, batchSize: 32 })
    expect((await model.predictProba(separated)).length).toBe(3 * rows)
    model.dispose()
  })
})

describe('bad input', () => {
  const message = (make: () => unknown): string => {
    try {
      make()
    } catch (error) {
      expect(isBpfError(error)).toBe(true)
      return (error as Error).message
    }
    return 'nothing was thrown'
  }
  const failure = (promise: Promise<unknown>) =>
    promise.then(
      () => 'nothing was thrown',
      (error: unknown) => (expect(isBpfError(error)).toBe(true), (error as Error).message),
    )

  it('names options out of range', () => {
    expect(message(() => noProp({ classes: 1 }))).toContain('classes must be an integer of at least 2, got 1')
    expect(message(() => noProp({ classes: 3, steps: 0 }))).toContain('steps must be an integer of at least 1, got 0')
    expect(message(() => noProp({ classes: 3, eta: 0 }))).toContain('eta must be a finite number above 0, got 0')
    expect(message(() => noProp({ variant: 'ct', classes: 3, eta: -1 }))).toContain('eta must be')
    expect(message(() => noProp({ variant: 'ct', classes: 3, steps: 0 }))).toContain('steps must be')
    expect(message(() => noProp({ variant: 'ct', classes: 3, solver: 'heun' }))).toContain("needs sampler 'ode', got 'ancestral'")
    expect(message(() => noProp({ variant: 'fm', classes: 3, steps: 1.5 }))).toContain('steps must be')
    expect(message(() => noProp({ variant: 'fm', classes: 3, pathNoise: -1 }))).toContain('pathNoise must be at least 0')
    expect(message(() => noProp({ classes: 3, samples: 0 }))).toContain('samples must be')
    expect(message(() => noProp({ classes: 3, readoutSigma: 0 }))).toContain('readoutSigma must be')
    expect(message(() => noProp({ classes: 3, block: noPropConvBlock(), blocksAtOnce: 2 }))).toContain("this block can't run stacked")
    expect(message(() => noPropDenseBlock({ trunk: [] }))).toContain('trunk needs at least one layer')
    expect(message(() => noPropDenseBlock({ x: [0] }))).toContain('x must be positive integers, got 0')
    expect(message(() => noPropCosineSchedule({ steps: 0 }))).toContain('steps must be')
    expect(message(() => noPropCosineSchedule({ steps: 2, offset: -1 }))).toContain('offset must be')
    const method = noProp({ classes: 3, steps: 2, block })
    const start = method.init(random.key(0), { x: tf.zeros([2, 2]), y: tf.zeros([2], 'int32') }, undefined).tensors
    expect(message(() => method.stepBlock(start, 1, { x: tf.zeros([2, 2]), y: tf.zeros([2], 'int32') }, random.key(0)))).toContain(
      'index must be an integer in [0, 1), got 1',
    )
  })

  it('names a schedule that does not increase strictly within (0, 1)', () => {
    for (const alphaBar of [
      [0, 0.5],
      [0.5, 0.5],
      [0.2, 1],
      [0.2, NaN],
    ]) {
      expect(message(() => noProp({ classes: 3, alphaBar }))).toContain('alphaBar must increase strictly within (0, 1)')
    }
    expect(message(() => noPropCosineSchedule({ steps: 10, alphaBarMin: 0.1 }))).toContain('must increase strictly within (0, 1)')
    expect(message(() => noProp({ classes: 3, alphaBar: [0.5] }))).toContain('at least two values')
    expect(message(() => noProp({ classes: 3, steps: 3, alphaBar: [0.2, 0.5] }))).toContain('steps + 1 = 4 values, got 2')
  })

  it('names an output of a block that is neither C nor d, and both of them', () => {
    const sample = { x: tf.zeros([2, 2]), y: tf.zeros([2], 'int32') }
    const wrong = noPropBlock({ x: dense(4), z: dense(4), trunk: dense(7), output: 'trunk' })
    const learned = { classes: 3, block: wrong, embedding: 'learned', embeddingSize: 5 } as const
    expect(message(() => noProp(learned).init(random.key(0), sample, undefined))).toContain(
      '3 (classes, logits) or 5 (embedding) values per example, got 7',
    )
    expect(message(() => noProp({ ...learned, variant: 'fm' }).init(random.key(0), sample, undefined))).toContain(
      '5 (embedding) values per example, got 7',
    )
    const square = noPropBlock({ x: sequential([]), z: dense(4), trunk: flatten() })
    const pictures = { x: tf.zeros([2, 4, 4, 1]), y: tf.zeros([2], 'int32') }
    expect(message(() => noProp({ classes: 3, block: square }).init(random.key(0), pictures, undefined))).toContain('must end in vectors')
    expect(message(() => noProp({ classes: 3, embedding: 'prototype' }).init(random.key(0), sample, undefined))).toContain('train with fit')
  })

  it('names labels out of range, NaN, and a class without an example', async () => {
    const wrong = y.slice()
    wrong[5] = 3
    const method = () => noProp({ classes: 3, steps: 2, block })
    expect(await failure(fitClassifier(method(), separated, wrong, { epochs: 1 }))).toContain('label 3 at index 5 is out of range')
    const labels = batch(fromArrays({ x: separated, y: wrong }), 32)
    expect(await failure(fit(method(), labels, { epochs: 1 }))).toContain('labels must be integers in [0, 3)')
    const nan = { ...separated, data: separated.data.map((value, i) => (i === 11 ? NaN : value)) }
    expect(await failure(fitClassifier(method(), nan, y, { epochs: 1, batchSize: 32 }))).toContain('x is NaN in example 5')
    const prototype = noProp({ classes: 4, steps: 2, block, embedding: 'prototype' })
    expect(await failure(fitClassifier(prototype, separated, y, { epochs: 1, batchSize: 32 }))).toContain('class 3 has no example')
  })

  it('names inputs of another size', () => {
    const method = noProp({ classes: 3, steps: 2, block })
    const { tensors } = method.init(random.key(0), { x: tf.zeros([2, 2]), y: tf.zeros([2], 'int32') }, undefined)
    expect(message(() => method.predict(tensors, tf.zeros([2, 3])))).toContain('expected x of 2 values per example, got shape [2, 3]')
  })
})
