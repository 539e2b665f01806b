import * as tf from '@tensorflow/tfjs-core'
import { describe, expect, it } from 'vitest'
import { batch, fromArrays, fromStream, shuffle } from './data/index'
import { useBackend } from './backend'
import type { Dataset } from './data/dataset'
import { BpfError, DataError, OptionError, ShapeError } from './errors'
import { fit } from './fit'
import { fitStages } from './fit-stages'
import { valueAndGrad } from './grad/index'
import type { Learner, Staged } from './learner'
import { uniform } from './random/draws'
import { fold, key, split } from './random/key'
import { memoryCheckpoints } from './save/index'
import { learnerContract, stagedContract } from './testing/index'
import type { FitEvent, Reporter } from './training'
import { dispose, map } from './tree'

type Params = { w: tf.Tensor; b: tf.Tensor }
type State = { params: Params; frozen: tf.Tensor; steps: tf.Tensor }
type Batch = { x: tf.Tensor; y: tf.Tensor }

/** y = 2 x₁ − 3 x₂ + 1 on 43 points, in batches of 4: 10 a pass, 3 points left over. */
function linearData(): Dataset<Batch> {
  const x = Float32Array.from({ length: 86 }, (_, i) => Math.sin(i * 1.3))
  const y = Float32Array.from({ length: 43 }, (_, i) => 2 * x[2 * i] - 3 * x[2 * i + 1] + 1)
  return batch(shuffle(fromArrays({ x: { data: x, shape: [43, 2] }, y: { data: y, shape: [43, 1] } })), 4)
}

function predictLinear({ w, b }: Params, x: tf.Tensor): tf.Tensor {
  return tf.add(tf.matMul(x as tf.Tensor2D, w as tf.Tensor2D), b)
}

/** Linear regression by SGD with input noise, so that keys matter; `host` counts hooks. */
function linearLearner(options: { rate?: number; every?: number | 'epoch' } = {}): Learner<State, Batch> {
  const lossAndGrad = valueAndGrad((params: Params, x: tf.Tensor, y: tf.Tensor) => tf.mean(tf.square(tf.sub(predictLinear(params, x), y))))
  return {
    init: () => ({
      tensors: { params: { w: tf.zeros([2, 1]), b: tf.zeros([1]) }, frozen: tf.ones([3]), steps: tf.scalar(0, 'int32') },
      host: { hooks: 0 },
    }),
    step(state, { x, y }, k) {
      const noisy = tf.add(x, uniform(k, x.shape, { high: 1e-3 }))
      const { value, grads } = lossAndGrad(state.params, noisy, y)
      const params = map((p, g) => tf.sub(p, tf.mul(g, options.rate ?? 0.1)), state.params, grads)
      return { tensors: { params, frozen: state.frozen, steps: tf.add(state.steps, tf.scalar(1, 'int32')) }, metrics: { loss: value } }
    },
    afterStep: {
      every: options.every ?? 'epoch',
      run: (state) => ({ tensors: state.tensors, host: { hooks: (state.host as { hooks: number }).hooks + 1 } }),
    },
    evaluate(state, { x, y }, weight) {
      const error = tf.sum(tf.square(tf.sub(predictLinear(state.params, x), y)), -1)
      return { sums: { mse: tf.sum(tf.mul(error, weight)) }, count: tf.sum(weight) }
    },
    predict: (state, x) => predictLinear(state.params, x as tf.Tensor),
  }
}

describe('a learner passes the contract suite', () => {
  for (const check of learnerContract({ learner: linearLearner, dataset: linearData, steps: 13 })) it(check.name, check.run)
})

describe('fit', () => {
  it('learns a linear function and reports means of metrics by epoch', async () => {
    const { state, history, step, reason } = await fit(linearLearner(), linearData(), { epochs: 40, seed: 1, validation: linearData() })
    expect(reason).toBe('done')
    expect(step).toBe(400)
    expect(Array.from(state.tensors.params.w.dataSync())).toEqual([expect.closeTo(2, 1), expect.closeTo(-3, 1)])
    expect(history).toHaveLength(40)
    expect(history[39].metrics['val/mse']).toBeLessThan(1e-3)
    expect(history[39].metrics.loss).toBeLessThan(history[0].metrics.loss)
    expect(state.host).toEqual({ hooks: 40 })
  })

  it('gives step n the key fold(run, n)', async () => {
    const seen: number[] = []
    const learner = linearLearner()
    const spy: typeof learner = {
      ...learner,
      step: (state, batch, k) => {
        const next = learner.step(state, batch, k)
        return { ...next, metrics: { ...next.metrics, draw: tf.reshape(uniform(k, [1]), []) } }
      },
    }
    const reporter: Reporter = { report: (event) => void (event.type === 'step' && seen.push(event.metrics.draw)) }
    dispose((await fit(spy, linearData(), { steps: 12, key: key(5), stepsPerCall: 5, reporter })).state.tensors)
    const run = split(key(5), 6)[3]
    expect(seen).toEqual(Array.from({ length: 12 }, (_, n) => uniform(fold(run, n), [1]).dataSync()[0]))
  })

  it('compiles an evaluation once, for all validations', async () => {
    const compiles = (await useBackend()).name === 'onnx'
    const learner = linearLearner()
    let calls = 0
    const counting: typeof learner = { ...learner, evaluate: (...args) => (calls++, learner.evaluate?.(...args)) as never }
    const { history } = await fit(counting, linearData(), { epochs: 4, validation: linearData() })
    expect(history.every(({ metrics }) => 'val/mse' in metrics)).toBe(true)
    // 43 points in batches of 4 are 11 evaluations a pass, the last one padded.
    expect(calls).toBe(compiles ? 1 : 44)
  })

  it('calls hooks every n steps whatever the steps per call', async () => {
    for (const stepsPerCall of [1, 4, 9]) {
      const { state } = await fit(linearLearner({ every: 3 }), linearData(), { steps: 20, stepsPerCall })
      expect(state.host).toEqual({ hooks: 6 })
    }
  })

  it('keeps the best state and stops when it no longer improves', async () => {
    // A learning rate that first improves and then cannot: the noise keeps the loss from falling for ever.
    const run = await fit(linearLearner({ rate: 0.3 }), linearData(), {
      epochs: 500,
      best: { metric: 'mse', mode: 'min' },
      patience: 3,
      validation: linearData(),
    })
    expect(run.reason).toBe('early-stop')
    const values = run.history.map(({ metrics }) => metrics['val/mse'])
    expect(run.best?.value).toBe(Math.min(...values))
    expect(run.best?.epoch).toBe(values.indexOf(Math.min(...values)))
    expect(values.length - 1 - (run.best?.epoch ?? 0)).toBe(3)
  })

  it('goes on with more epochs from the checkpoint of a finished run', async () => {
    const whole = await fit(linearLearner(), linearData(), { epochs: 4 })
    const checkpoints = memoryCheckpoints()
    await fit(linearLearner(), linearData(), { epochs: 2, checkpoints })
    const more = await fit(linearLearner(), linearData(), { epochs: 4, checkpoints })
    expect(more.history).toEqual(whole.history)
    expect(more.state.tensors.params.w.dataSync()).toEqual(whole.state.tensors.params.w.dataSync())
  })

  it('ends the last epoch from a checkpoint of its last step', async () => {
    const options = { steps: 20, checkpointEvery: 10, validation: linearData(), best: { metric: 'mse', mode: 'min' as const } }
    const whole = await fit(linearLearner(), linearData(), options)
    // What is left when the process dies in the last validation: the checkpoint of step 20 without that of a new best.
    const store = memoryCheckpoints()
    const checkpoints: typeof store = {
      load: () => store.load(),
      save: (checkpoint, info) => (info.best ? Promise.resolve() : store.save(checkpoint, info)),
    }
    await fit(linearLearner(), linearData(), { ...options, checkpoints })
    const resumed = await fit(linearLearner(), linearData(), { ...options, checkpoints })
    expect(resumed.history).toEqual(whole.history)
    expect(resumed.best?.value).toBe(whole.best?.value)
    expect(resumed.best?.epoch).toBe(1)
    expect(resumed.state.host).toEqual(whole.state.host)
  })

  it('refuses a checkpoint of another seed', async () => {
    const checkpoints = memoryCheckpoints()
    await fit(linearLearner(), linearData(), { steps: 3, seed: 1, checkpoints })
    await expect(fit(linearLearner(), linearData(), { steps: 3, seed: 2, checkpoints })).rejects.toThrow(
      'belongs to a run with another key or seed',
    )
  })

  it('names the step and the first value that is not finite', async () => {
    const diverging = linearLearner({ rate: 1e20 })
    await expect(fit(diverging, linearData(), { steps: 50 })).rejects.toThrow(
      /fit: step \d+ made (metric 'loss'|state '\/params\/\w') not finite/,
    )
    await expect(fit(diverging, linearData(), { steps: 50 })).rejects.toBeInstanceOf(BpfError)
  })

  it('reports events in order', async () => {
    const events: FitEvent[] = []
    await fit(linearLearner(), linearData(), {
      epochs: 1,
      validation: linearData(),
      checkpoints: memoryCheckpoints(),
      reporter: { report: (event) => events.push(event) },
    })
    expect(events.map(({ type }) => type)).toEqual(['start', ...Array<string>(10).fill('step'), 'validation', 'checkpoint', 'end'])
    expect(events[0]).toEqual({ type: 'start', totalSteps: 10 })
  })

  it('lets timers run between calls', async () => {
    let ticks = 0
    const timer = setInterval(() => ticks++, 1)
    await fit(linearLearner(), linearData(), { epochs: 30 })
    clearInterval(timer)
    expect(ticks).toBeGreaterThan(1)
  })

  it.each([
    [{}, 'give epochs or steps'],
    [{ epochs: -1 }, 'epochs must be a positive integer, got -1'],
    [{ steps: 2.5 }, 'steps must be a positive integer, got 2.5'],
    [{ epochs: 1, patience: 2 }, 'patience needs best'],
    [{ epochs: 1, key: key(0), seed: 0 }, 'give key or seed, not both'],
    [{ epochs: 1, checkpointEvery: 0 }, 'checkpointEvery must be a positive integer'],
    [{ epochs: 1, best: { metric: 'acc', mode: 'max' as const } }, "best.metric 'acc' is not among the metrics: loss"],
  ])('refuses %o', async (options, message) => {
    await expect(fit(linearLearner(), linearData(), options)).rejects.toThrow(message)
    await expect(fit(linearLearner(), linearData(), options)).rejects.toBeInstanceOf(OptionError)
  })

  it('refuses validation of a learner that cannot evaluate', async () => {
    const { evaluate: _, ...learner } = linearLearner()
    await expect(fit(learner, linearData(), { epochs: 1, validation: linearData() })).rejects.toThrow('validation needs learner.evaluate')
  })

  it('says when the dataset gives no batch', async () => {
    const one = { x: { data: new Float32Array(2), shape: [1, 2] }, y: { data: new Float32Array(1), shape: [1, 1] } }
    await expect(fit(linearLearner(), batch(fromArrays(one), 4), { epochs: 1 })).rejects.toThrow('1 examples give no batch of 4')
    const short = batch(
      fromStream(async function* () {
        yield await Promise.resolve(one)
      }),
      4,
    )
    await expect(fit(linearLearner(), short, { epochs: 1 })).rejects.toBeInstanceOf(DataError)
  })

  it('says where a step changes the shape of the state', async () => {
    const learner = linearLearner()
    const growing: typeof learner = {
      ...learner,
      step: (state, batch, k) => {
        const next = learner.step(state, batch, k)
        return { ...next, tensors: { ...next.tensors, frozen: tf.concat([state.frozen, state.frozen]) } }
      },
    }
    await expect(fit(growing, linearData(), { steps: 2 })).rejects.toThrow(
      "learner.step changed the state at '/frozen' from float32 [3] to float32 [6]",
    )
    await expect(fit(growing, linearData(), { steps: 2 })).rejects.toBeInstanceOf(ShapeError)
  })

  it('starts from a given state and leaves it alone', async () => {
    const first = await fit(linearLearner(), linearData(), { steps: 5 })
    const kept = Array.from(first.state.tensors.params.w.dataSync())
    const second = await fit(linearLearner(), linearData(), { steps: 5, initialState: first.state })
    expect(Array.from(first.state.tensors.params.w.dataSync())).toEqual(kept)
    expect(Array.from(second.state.tensors.steps.dataSync())).toEqual([10])
  })

  it('frees what prepare made', async () => {
    const learner = linearLearner()
    const prepared: Learner<State, Batch, { mean: tf.Tensor }> = {
      ...learner,
      prepare: () => Promise.resolve({ mean: tf.ones([3]) }),
      init: (k, sample, aux) => {
        const state = learner.init(k, sample)
        return { ...state, tensors: { ...state.tensors, frozen: aux.mean } }
      },
    }
    dispose((await fit(prepared, linearData(), { steps: 1 })).state.tensors)
    const before = tf.memory().numTensors
    const { state } = await fit(prepared, linearData(), { steps: 1 })
    expect(Array.from(state.tensors.frozen.dataSync())).toEqual([1, 1, 1])
    dispose(state.tensors)
    expect(tf.memory().numTensors).toBe(before)
  })
})

/** Boosting by stages: each stage fits the residual of the sum so far with a linear learner. */
function boosting(): Staged<{ sum: Params }, Batch> {
  return {
    stageCount: 3,
    init: () => ({ tensors: { sum: { w: tf.zeros([2, 1]), b: tf.zeros([1]) } }, host: [] }),
    stage: (k, state) => {
      const inner = linearLearner({ rate: 0.05 })
      const residual: Learner<State & { sum: Params }, Batch> = {
        init: (key_, sample) => {
          const { tensors, host } = inner.init(key_, sample)
          return { tensors: { ...tensors, sum: state.tensors.sum }, host }
        },
        step: ({ sum, ...rest }, { x, y }, key_) => {
          const next = inner.step(rest, { x, y: tf.sub(y, predictLinear(sum, x)) }, key_)
          return { ...next, tensors: { ...next.tensors, sum } }
        },
      }
      return Promise.resolve({
        learner: residual as unknown as Learner<never, Batch, unknown> as never,
        options: { steps: 7 },
        finish: ({ tensors }) => {
          const { sum, params } = tensors as unknown as State & { sum: Params }
          return { tensors: { sum: map((a, b) => tf.add(a, b), sum, params) }, host: [...(state.host as number[]), k] }
        },
      })
    },
  }
}

describe('a staged method passes the contract suite', () => {
  for (const check of stagedContract({ staged: boosting, dataset: linearData })) it(check.name, check.run)
})

describe('fitStages', () => {
  it('runs all stages and hands the state on', async () => {
    const events: FitEvent[] = []
    const run = await fitStages(boosting(), linearData(), { reporter: { report: (event) => events.push(event) } })
    expect(run).toMatchObject({ stages: 3, reason: 'done' })
    expect(run.state.host).toEqual([0, 1, 2])
    expect(events.filter(({ type }) => type === 'start')).toEqual(
      [0, 1, 2].map((stage) => ({ type: 'start', totalSteps: 7, stage, stageCount: 3 })),
    )
  })

  it('stops at an abort and reports the stages done', async () => {
    const controller = new AbortController()
    let starts = 0
    const run = await fitStages(boosting(), linearData(), {
      signal: controller.signal,
      reporter: { report: (event) => void (event.type === 'start' && ++starts === 2 && controller.abort()) },
    })
    expect(run).toMatchObject({ stages: 1, reason: 'aborted' })
  })
})
