import { compile, float64Tensor, tree, useBackend } from '@bpf/core'
import { key, normal } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { describe, expect, it, vi } from 'vitest'
import type { Denoiser } from './denoiser'
import { linearGaussian } from './gaussian-mixture'
import { alphaBarOf, betaSchedule, discreteProcess, vpProcess } from './process'
import { sample } from './sampling'
import { ddim, ddimTransfer, ddpm, dpmSolverMultistep, heun, pndm } from './solvers/index'
import {
  couplingError,
  epsilonScaling,
  generateTimeShift,
  indexGrid,
  sampleTimeShift,
  selectTime,
  stateVariance,
  timeShiftEvaluations,
  timeShiftTrajectory,
  type TimeShiftMode,
} from './time-shift/index'

await useBackend('onnx')

const process = discreteProcess()
const D = 16
/** Data of little variance about 0, as images scaled to [−1, 1] have. */
const model = linearGaussian(
  {
    mean: Array.from({ length: D }, () => 0.1),
    covariance: Array.from({ length: D }, (_, i) => Array.from({ length: D }, (_x, j) => (i === j ? 0.1 : 0))),
  },
  process,
)
/** Rows of unit variance (unbiased) and mean 0. */
function standardised(n: number, d: number): tf.Tensor {
  const z = normal(key(3), [n, d])
  const centred = tf.sub(z, tf.mean(z, 1, true))
  return tf.div(centred, tf.sqrt(tf.div(tf.sum(tf.square(centred), 1, true), d - 1)))
}
const list = (tensor: tf.Tensor): number[] => Array.from(tensor.dataSync())
const largest = (a: tf.Tensor, b: tf.Tensor): number => tf.max(tf.abs(tf.sub(a, b))).dataSync()[0]

const solvers = { ddim, ddpm, 's-pndm': () => pndm({ order: 2 }), 'f-pndm': () => pndm({ order: 4 }), '2m': dpmSolverMultistep }
const modes: readonly TimeShiftMode[] = ['paper', 'destination', 'network']

describe('selectTime', () => {
  it('returns the time whose noise a state has when it is in the window, else the nearer end', () => {
    const z = standardised(3, 20)
    for (const [tau, nominal, expected] of [
      [500, 510, 500],
      [495, 500, 495],
      [400, 500, 480],
      [640, 500, 520],
    ]) {
      const states = tf.mul(z, Math.sqrt(1 - process.alphaBar[tau]))
      expect(list(selectTime(process, states, nominal, { window: 40, cutoff: 200 }))).toEqual([expected, expected, expected])
    }
  })

  it('stays inside the window and the schedule, and is nominal up to the cutoff', () => {
    const states = tf.mul(standardised(4, 8), tf.tensor2d([0, 0.3, 1, 5], [4, 1]))
    for (const nominal of [0, 5, 300, 301, 990, 999]) {
      const chosen = list(selectTime(process, states, nominal, { window: 30, cutoff: 300 }))
      if (nominal <= 300) expect(chosen).toEqual([nominal, nominal, nominal, nominal])
      chosen.forEach((index) => {
        expect(Math.abs(index - nominal)).toBeLessThanOrEqual(15)
        expect(index).toBeGreaterThanOrEqual(0)
        expect(index).toBeLessThanOrEqual(999)
      })
    }
    expect(list(selectTime(process, states, 990, { window: 30, cutoff: 300 }))[3]).toBe(999)
  })

  it('moves up with a larger state and down with a smaller one', () => {
    const states = tf.mul(standardised(1, 50), Math.sqrt(1 - process.alphaBar[400]))
    const at = (scale: number): number => list(selectTime(process, tf.mul(states, scale), 400, { window: 200, cutoff: 0 }))[0]
    expect(at(1)).toBe(400)
    expect(at(1.05)).toBeGreaterThan(400)
    expect(at(0.95)).toBeLessThan(400)
  })

  it('looks at each sample alone', () => {
    const states = normal(key(5), [6, 12])
    const order = [3, 1, 5, 0, 2, 4]
    const window = { window: 100, cutoff: 0 }
    const chosen = list(selectTime(process, states, 600, window))
    const permuted = list(selectTime(process, tf.gather(states, tf.tensor1d(order, 'int32')), 600, window))
    expect(permuted).toEqual(order.map((i) => chosen[i]))
  })
})

describe('without shift', () => {
  const grid = { indices: [901, 701, 501, 301, 101] }
  const times = { times: [...grid.indices.map((i) => process.timeOfIndex(i)), 0] }

  it.each(Object.entries(solvers))(
    '%s is the same to the bit with window 0 and with a cutoff above all times, in every mode',
    (_, make) => {
      const initial = normal(key(1), [5, D])
      const draw = (options: { window?: number; cutoff?: number; mode?: TimeShiftMode }): number[] =>
        list(sampleTimeShift(model, { grid, solver: make(), initial, key: key(2), ...options }))
      const first = draw({ window: 0 })
      for (const mode of modes) {
        expect(draw({ mode, window: 0, cutoff: 100 })).toEqual(first)
        expect(draw({ mode, window: 80, cutoff: 1000 })).toEqual(first)
      }
      expect(draw({ window: 80, cutoff: 100 })).not.toEqual(first)
    },
  )

  it.each(Object.entries(solvers).filter(([name]) => name !== 'ddpm'))('%s is the solver of the same name', async (_, make) => {
    const initial = float64Tensor(Float64Array.from(normal(key(1), [5, D]).dataSync()), [5, D])
    const both = compile(
      (x: tf.Tensor) => [
        sampleTimeShift(model, { grid, solver: make(), initial: x, window: 0 }),
        sample(model, { grid: times, solver: make(), initial: x }),
      ],
      { precision: 'float64' },
    )
    const [shifted, plain] = await Promise.all(both(initial).map((tensor) => tensor.data()))
    // F-PNDM's middle times are halves of an index, where the reference code rounds ᾱ's index down.
    const tolerance = make().name === 'pndm(4)' ? 2e-2 : 1e-9
    shifted.forEach((value, i) => expect(Math.abs(value - plain[i])).toBeLessThan(tolerance))
  })
})

describe('shifted', () => {
  const grid = { steps: 10 }
  const options = { grid, window: 100, cutoff: 300 }

  it.each(Object.entries(solvers))('%s evaluates the network no more often', async (name, make) => {
    await useBackend('cpu')
    let calls = 0
    const counted: Denoiser = { ...model, predict: (x, t) => (calls++, model.predict(x, t)) }
    for (const mode of modes) {
      calls = 0
      tf.tidy(() => sampleTimeShift(counted, { ...options, mode, solver: make(), shape: [3, D], key: key(1) }))
      expect(calls).toBe(timeShiftEvaluations(make(), 10))
      expect(calls).toBe(10 + ({ 's-pndm': 1, 'f-pndm': 9 }[name] ?? 0))
    }
    await useBackend('onnx')
  })

  it.each(modes.flatMap((mode) => Object.keys(solvers).map((name) => [mode, name] as const)))(
    'in mode %s, %s gives finite samples, eager as compiled',
    async (mode, name) => {
      const solver = solvers[name as keyof typeof solvers]()
      // Windows wider than a stride: times may lie on the wrong side of their destination.
      const draw = (): tf.Tensor => sampleTimeShift(model, { ...options, window: 300, mode, solver, shape: [20, D], key: key(4) })
      const compiled = list(compile(draw)())
      await useBackend('cpu')
      const eager = list(tf.tidy(draw))
      await useBackend('onnx')
      compiled.forEach((value, i) => {
        expect(Number.isFinite(value)).toBe(true)
        expect(Math.abs(value - eager[i])).toBeLessThan(2e-4)
      })
    },
  )

  it('chooses indices for each sample, and permutes them with the batch', () => {
    const initial = normal(key(6), [8, D])
    const order = [7, 2, 0, 5, 1, 3, 6, 4]
    const run = (x: tf.Tensor) => timeShiftTrajectory(model, { ...options, initial: x })
    const { samples, indices, states } = run(initial)
    const permuted = run(tf.gather(initial, tf.tensor1d(order, 'int32')))
    expect(indices.shape).toEqual([10, 8])
    expect(states.shape).toEqual([10, 8, D])
    expect(new Set(list(tf.slice(indices, [2, 0], [1, 8]))).size).toBeGreaterThan(1)
    expect(list(tf.slice(indices, [9, 0], [1, 8]))).toEqual(Array(8).fill(-1))
    expect(list(permuted.indices)).toEqual(list(tf.gather(indices, tf.tensor1d(order, 'int32'), 1)))
    expect(largest(permuted.samples, tf.gather(samples, tf.tensor1d(order, 'int32')))).toBeLessThan(1e-5)
  })

  it('takes any parameterisation', () => {
    const initial = normal(key(7), [6, D])
    const eps: Denoiser = epsilonScaling(model, { offset: 1 })
    expect(largest(sampleTimeShift(model, { ...options, initial }), sampleTimeShift(eps, { ...options, initial }))).toBeLessThan(1e-4)
  })

  it('with normalised variance starts each step from the variance of its time', () => {
    const { states } = timeShiftTrajectory(model, { ...options, window: 0, normalizeVariance: true, shape: [50, D], key: key(8) })
    const plain = timeShiftTrajectory(model, { ...options, window: 0, shape: [50, D], key: key(8) })
    expect(largest(states, plain.states)).toBeGreaterThan(1e-3)
  })
})

describe('the transfer', () => {
  it('is DDIM, and the identity from a time to itself', async () => {
    const [x, e] = [1, 2].map((seed) => float64Tensor(Float64Array.from(normal(key(seed), [4, 5]).dataSync()), [4, 5]))
    const [a, b] = [0.3, 0.7]
    const fn = compile(
      (state: tf.Tensor, eps: tf.Tensor) => {
        const x0 = tf.div(tf.sub(state, tf.mul(eps, Math.sqrt(1 - a))), Math.sqrt(a))
        const step = tf.add(tf.mul(x0, Math.sqrt(b)), tf.mul(eps, Math.sqrt(1 - b)))
        return [tf.sub(ddimTransfer(state, eps, a, b), step), tf.sub(ddimTransfer(state, eps, a, a), state)]
      },
      { precision: 'float64' },
    )
    for (const difference of fn(x, e)) (await difference.data()).forEach((value) => expect(Math.abs(value)).toBeLessThan(1e-12))
  })
})

describe('diagnosis', () => {
  it('stateVariance is the mean of unbiased variances', () => {
    const x = tf.tensor2d([1, 3, 5, 2, 2, 2], [2, 3])
    expect(stateVariance(x).dataSync()[0]).toBeCloseTo(2, 6)
  })

  it('couplingError is least near the time of the state for an exact model', async () => {
    const x0 = tf.add(normal(key(1), [400, D], { stddev: Math.sqrt(0.1) }), 0.1)
    const { indices, errors } = couplingError(model, x0, { from: 520, to: 500, window: 200, key: key(2) })
    const values = await errors.data()
    expect(indices[0]).toBe(400)
    expect(indices).toHaveLength(201)
    const best = indices[values.indexOf(Math.min(...values))]
    expect(Math.abs(best - 500)).toBeLessThan(60)
  })
})

describe('indexGrid', () => {
  it('is uniform from the last index, or quadratic', () => {
    expect(indexGrid(process, { steps: 4 })).toEqual([999, 749, 499, 249])
    const quadratic = indexGrid(process, { steps: 10, spacing: 'quadratic' })
    expect(quadratic[0]).toBe(800)
    expect(quadratic[9]).toBe(0)
    expect(quadratic[8]).toBe(9)
  })

  it.each([
    [{ steps: 0 }, /steps must be a positive integer/],
    [{ steps: 1001 }, /1001 steps do not fit the 1000 indices/],
    [{ steps: 100, spacing: 'quadratic' as const }, /visit index 2 twice/],
    [{ steps: 3, spacing: 'cubic' as never }, /spacing must be 'uniform' or 'quadratic'/],
    [{ indices: [] }, /at least one index/],
    [{ indices: [5, 5] }, /decrease strictly/],
    [{ indices: [1000] }, /integers in \[0, 999\]/],
  ])('refuses %j', (grid, message) => expect(() => indexGrid(process, grid)).toThrow(message))
})

describe('refuses', () => {
  const options = { grid: { steps: 5 }, shape: [2, D], key: key(0) }
  it.each([
    ['a negative window', { window: -1 }, /window must be at least 0/],
    ['a negative cutoff', { cutoff: -1 }, /cutoff must be at least 0/],
    ['an unknown mode', { mode: 'both' as never }, /mode must be one of paper, destination, network/],
    ['an unknown last step', { lastStep: 'zero' as never }, /lastStep must be 'clean' or 'index0'/],
    ['fewer than one step', { grid: { steps: 0 } }, /steps must be a positive integer/],
    ['a solver with one time for all', { solver: heun() }, /takes one time for the whole batch/],
    ['too few steps for the solver', { grid: { steps: 3 }, solver: pndm() }, /needs at least 4 steps/],
    ['one dimension per sample', { shape: [4, 1] }, /time shift needs at least 2 dimensions per sample/],
    ['no first state', { shape: undefined }, /give initial/],
    ['no key', { key: undefined }, /needs a key/],
    ['no key for noise', { key: undefined, initial: tf.ones([2, D]), solver: ddpm() }, /give a key/],
  ])('%s', (_, wrong, message) => {
    expect(() => sampleTimeShift(model, { ...options, ...wrong })).toThrow(message)
  })

  it('a process that is not discrete', () => {
    const continuous = linearGaussian(
      {
        mean: [0, 0],
        covariance: [
          [1, 0],
          [0, 1],
        ],
      },
      vpProcess(),
    )
    expect(() => sampleTimeShift(continuous, options)).toThrow(/expected a model of a discrete process/)
    expect(() => epsilonScaling(continuous)).toThrow(/discrete process/)
  })

  it('a schedule that does not decrease in (0, 1)', () => {
    expect(() => discreteProcess([0.9, 0.9])).toThrow(/decrease strictly in \(0, 1\)/)
  })

  it('a scale of the noise that is not positive', () => {
    expect(() => epsilonScaling(model, { offset: 0 })).toThrow(/must be positive/)
  })

  it('a state that is not finite, naming the step', async () => {
    const broken: Denoiser = {
      ...model,
      predict: (x, t) => tf.where(tf.less(tf.reshape(t, [-1, 1]), 0.5), tf.fill(x.shape, NaN), model.predict(x, t)),
    }
    await expect(generateTimeShift(broken, { ...options, window: 0 })).rejects.toThrow(/not finite after step 3/)
    const samples = await generateTimeShift(model, options)
    expect(samples.shape).toEqual([2, D])
  })

  it('nothing, but warns, where the window is wider than the schedule', () => {
    const emit = vi.spyOn(globalThis.process, 'emitWarning').mockImplementation(() => {})
    const short = discreteProcess(alphaBarOf(betaSchedule('linear', { steps: 20, betaEnd: 0.3 })))
    expect(list(selectTime(short, tf.zeros([1, 4]), 19, { window: 1000, cutoff: 0 }))).toEqual([0])
    expect(emit.mock.calls[0][0]).toMatch(/wider than the schedule of 20 indices/)
    emit.mockRestore()
  })
})

it('leaves no tensor behind', () => {
  const before = tf.memory().numTensors
  tree.dispose(sampleTimeShift(model, { grid: { steps: 5 }, shape: [2, D], key: key(0) }))
  expect(tf.memory().numTensors).toBe(before)
})
