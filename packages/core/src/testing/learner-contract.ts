import * as tf from '@tensorflow/tfjs-core'
import { ensureBackend } from '../backend'
import { compile } from '../compile'
import type { Dataset } from '../data/dataset'
import { isBpfError } from '../errors'
import { evaluateLearner, fit } from '../fit'
import { fitStages, type FitStagesOptions } from '../fit-stages'
import type { Learner, LearnerState, Staged } from '../learner'
import { fold, key } from '../random/key'
import { memoryCheckpoints } from '../save/index'
import type { CheckpointStore, FitOptions } from '../training'
import { clone, dispose, entries, leaves, map, signature, tidy, type Tree } from '../tree'

/** One check of a contract suite: register it with any test runner, `for (const c of learnerContract(…)) it(c.name, c.run)`. */
export interface ContractCheck {
  name: string
  run: () => Promise<void>
}

/** What {@link learnerContract} needs to know. */
export interface LearnerContractOptions<State extends Tree, Batch extends Tree, Aux> {
  /** Makes the learner; called for every check. */
  learner: () => Learner<State, Batch, Aux>
  /** A small dataset of at least 4 batches per epoch. */
  dataset: () => Dataset<Batch>
  /** Steps of a whole run; more than one epoch. Default 11. */
  steps?: number
  /** Makes a batch whose step must fail: another feature size, say. Default: each float leaf with its last axis one longer. */
  wrongShape?: (batch: Batch) => Batch
  /** Makes a batch whose step must trip the NaN guard. Default: all float leaves NaN. */
  poison?: (batch: Batch) => Batch
  /** Whether the method checks its batches and refuses NaN itself with an error of this library. Default false. */
  refusesNaN?: boolean
}

/** Fails with `message` unless `condition` holds. */
function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(message)
}

/** The values of a tree, by path. */
function values(tree: Tree): Map<string, number[]> {
  return new Map(entries(tree).map(({ path, leaf }) => [path, Array.from(leaf.dataSync())]))
}

function assertBitEqual(a: Tree, b: Tree, what: string): void {
  const left = values(a)
  const right = values(b)
  assert(left.size === right.size, `${what}: ${left.size} against ${right.size} tensors`)
  for (const [path, expected] of left) {
    const found = right.get(path)
    assert(found !== undefined && found.length === expected.length, `${what}: '${path}' is missing or has another size`)
    const at = expected.findIndex((value, i) => !Object.is(value, found[i]))
    assert(at === -1, `${what}: '${path}'[${at}] is ${found[at]}, expected ${expected[at]}`)
  }
}

/** Largest difference of two trees' leaves relative to the largest value of each leaf. */
function relativeDifference(a: Tree, b: Tree): number {
  const right = values(b)
  let worst = 0
  for (const [path, expected] of values(a)) {
    const found = right.get(path)
    assert(found !== undefined, `'${path}' is missing`)
    const scale = expected.reduce((largest, value) => Math.max(largest, Math.abs(value)), 1e-12)
    for (let i = 0; i < expected.length; i++) worst = Math.max(worst, Math.abs(expected[i] - found[i]) / scale)
  }
  return worst
}

async function firstBatch<Batch extends Tree>(dataset: Dataset<Batch>): Promise<Batch> {
  for await (const batch of dataset.batches({ key: key(0) })) return batch
  throw new Error('the contract suite needs a dataset with batches')
}

function mapFloats<Batch extends Tree>(fn: (leaf: tf.Tensor) => tf.Tensor, batch: Batch): Batch {
  return map((leaf) => (leaf.dtype === 'float32' ? fn(leaf) : leaf.clone()), batch)
}

const lengthenLastAxis = (leaf: tf.Tensor): tf.Tensor =>
  leaf.rank < 2
    ? leaf.clone()
    : tf.tidy(() =>
        tf.pad(
          leaf,
          leaf.shape.map((_, i) => [0, i === leaf.rank - 1 ? 1 : 0] as [number, number]),
        ),
      )

/** A dataset whose every batch went through `change`. */
function changed<Batch extends Tree>(dataset: Dataset<Batch>, change: (batch: Batch, index: number) => Batch): Dataset<Batch> {
  return {
    ...dataset,
    batchesPerEpoch: dataset.batchesPerEpoch,
    weightedBatches: (options) => dataset.weightedBatches(options),
    async *batches(options) {
      let index = 0
      for await (const batch of dataset.batches(options)) {
        const next = change(batch, index++)
        if (next !== batch) dispose(batch)
        yield next
      }
    },
  }
}

/** Aborts after `steps` steps were reported. */
function abortAfter(steps: number): { signal: AbortSignal; reporter: FitOptions<Tree, Tree>['reporter'] } {
  const controller = new AbortController()
  return {
    signal: controller.signal,
    reporter: { report: (event) => void (event.type === 'step' && event.step >= steps && controller.abort()) },
  }
}

/**
 * The checks every {@link Learner} of the library passes: determinism, eager = compiled, steps per call, save and
 * resume, abort, no leak, NaN guard, wrong shapes, purity, evaluation with padding.
 *
 * @returns checks to register with a test runner
 */
export function learnerContract<State extends Tree, Batch extends Tree, Aux>(
  options: LearnerContractOptions<State, Batch, Aux>,
): ContractCheck[] {
  const { learner, dataset, steps = 11 } = options
  const train = async (extra: Partial<FitOptions<State, Batch>> = {}) =>
    fit(learner(), dataset(), { steps, seed: 7, stepsPerCall: 1, ...extra })

  /** A fresh state and one batch, made by hand. */
  const setUp = async (): Promise<{ method: Learner<State, Batch, Aux>; state: LearnerState<State>; batch: Batch }> => {
    await ensureBackend()
    const method = learner()
    const aux = (await method.prepare?.(dataset(), key(1), {})) as Aux
    const batch = await firstBatch(dataset())
    const state = method.init(key(2), batch, aux)
    return { method, state, batch }
  }

  const checks: ContractCheck[] = [
    {
      name: 'the same key gives bit-equal results',
      async run() {
        const [a, b] = [await train(), await train()]
        assert(a.step === steps, `expected ${steps} steps, ran ${a.step}`)
        assertBitEqual(a.state.tensors, b.state.tensors, 'two runs with one key')
        dispose(a.state.tensors, b.state.tensors)
      },
    },
    {
      name: 'one step eager and compiled agree within 1e-5 of the largest value',
      async run() {
        const { method, state, batch } = await setUp()
        const eager = tidy(() => method.step(state.tensors, batch, key(3)))
        const compiled = compile((tensors: State, data: Batch, k: typeof stepKey) => method.step(tensors, data, k), {
          traceable: method.traceable,
        })
        const stepKey = key(3)
        const again = compiled(state.tensors, batch, stepKey)
        const difference = relativeDifference(eager.tensors, again.tensors)
        assert(difference <= 1e-5, `eager and compiled differ by ${difference} of the largest value`)
        dispose(eager.tensors, eager.metrics, again.tensors, again.metrics)
      },
    },
    {
      name: 'one step per call and seven give bit-equal results',
      async run() {
        const [one, seven] = [await train(), await train({ stepsPerCall: 7 })]
        assertBitEqual(one.state.tensors, seven.state.tensors, 'stepsPerCall 1 against 7')
        dispose(one.state.tensors, seven.state.tensors)
      },
    },
    {
      name: 'a stopped and resumed run is bit-equal to an uninterrupted one',
      async run() {
        const whole = await train()
        for (const stopAt of [1, Math.ceil(steps / 2), steps - 1]) {
          const checkpoints = memoryCheckpoints()
          const part = await train({ ...abortAfter(stopAt), checkpoints, checkpointEvery: 3 })
          assert(part.reason === 'aborted', `expected the run to be aborted at step ${stopAt}, it ended with '${part.reason}'`)
          dispose(part.state.tensors)
          const rest = await train({ checkpoints })
          assert(rest.step === steps, `the resumed run did ${rest.step} of ${steps} steps`)
          assertBitEqual(whole.state.tensors, rest.state.tensors, `resumed at step ${stopAt}`)
          assert(JSON.stringify(whole.state.host) === JSON.stringify(rest.state.host), `resumed at step ${stopAt}: the host state differs`)
          dispose(rest.state.tensors)
        }
        dispose(whole.state.tensors)
      },
    },
    {
      name: 'an abort stops within one call and keeps the state',
      async run() {
        const run = await train({ ...abortAfter(3), steps: 1000 })
        assert(run.reason === 'aborted' && run.step === 3, `expected an abort at step 3, got '${run.reason}' at ${run.step}`)
        assert(
          leaves(run.state.tensors).every((leaf) => !leaf.isDisposed),
          'a tensor of the state is disposed',
        )
        dispose(run.state.tensors)
      },
    },
    {
      name: 'fit and hand-written steps leave no tensor behind',
      async run() {
        dispose((await train()).state.tensors)
        const before = tf.memory().numTensors
        dispose((await train()).state.tensors)
        assert(tf.memory().numTensors === before, `fit leaks ${tf.memory().numTensors - before} tensors`)

        const { method, state, batch } = await setUp()
        const step = compile((tensors: State, data: Batch, k: ReturnType<typeof key>) => method.step(tensors, data, k), {
          donate: [0],
          traceable: method.traceable,
        })
        let tensors = clone(state.tensors)
        const held = tf.memory().numTensors
        for (let i = 0; i < 20; i++) {
          const next = step(tensors, batch, fold(key(4), i))
          dispose(next.metrics)
          tensors = next.tensors
        }
        assert(tf.memory().numTensors === held, `20 steps leak ${tf.memory().numTensors - held} tensors`)
        dispose(tensors, batch)
      },
    },
    {
      name: 'a step keeps its arguments and the signature of the state',
      async run() {
        const { method, state, batch } = await setUp()
        const before = values(state.tensors)
        const next = tidy(() => method.step(state.tensors, batch, key(3)))
        for (const leaf of [...leaves(state.tensors), ...leaves(batch)]) assert(!leaf.isDisposed, 'step disposed one of its arguments')
        for (const [path, old] of before) {
          const now = values(state.tensors).get(path)
          assert(
            old.every((value, i) => Object.is(value, now?.[i])),
            `step changed its argument at '${path}'`,
          )
        }
        assert(signature(next.tensors) === signature(state.tensors), 'step changed structure, dtypes or shapes of the state')
        assert(
          leaves(next.metrics).every((leaf) => leaf.size === 1),
          'a metric is not a scalar',
        )
      },
    },
    {
      name: 'NaN in a batch leaves the state and stops with an error that names the step',
      async run() {
        const poison = options.poison ?? ((batch: Batch) => mapFloats((leaf) => tf.fill(leaf.shape, NaN), batch))
        const bad = changed(dataset(), (batch, index) => (index === 2 ? poison(batch) : batch))
        try {
          const run = await fit(learner(), bad, { steps, seed: 7, stepsPerCall: 1 })
          dispose(run.state.tensors)
        } catch (error) {
          assert(isBpfError(error), `expected an error of this library, got ${String(error)}`)
          if (!options.refusesNaN) assert(/step 2 /.test(error.message), `the error does not name step 2: ${error.message}`)
          return
        }
        throw new Error('fit went on over a NaN batch')
      },
    },
    {
      name: 'a batch of another shape is an error',
      async run() {
        const { method, state, batch } = await setUp()
        const wrong = options.wrongShape?.(batch) ?? mapFloats(lengthenLastAxis, batch)
        let failed = false
        try {
          tidy(() => method.step(state.tensors, wrong, key(3)))
        } catch {
          failed = true
        }
        assert(failed, 'step accepted a batch of another feature size')
        const later = changed(dataset(), (item, index) =>
          index === 1 ? (options.wrongShape?.(item) ?? mapFloats(lengthenLastAxis, item)) : item,
        )
        try {
          dispose((await fit(learner(), later, { steps, seed: 7 })).state.tensors)
        } catch (error) {
          assert(isBpfError(error, 'ShapeError'), `expected a ShapeError, got ${String(error)}`)
          return
        }
        throw new Error('fit accepted a batch of another feature size')
      },
    },
  ]

  if (learner().evaluate !== undefined) {
    checks.push({
      name: 'evaluation does not depend on the padding of the last batch',
      async run() {
        const { method, state } = await setUp()
        const once = await evaluateLearner(method as Learner<State, Batch, unknown>, state.tensors, dataset(), key(5))
        const padded: Dataset<Batch> = {
          ...dataset(),
          async *weightedBatches(passOptions) {
            for await (const { batch, weight } of dataset().weightedBatches(passOptions)) {
              const garbage = tidy(() =>
                map((leaf) => (leaf.dtype === 'float32' ? tf.where(rowMask(weight, leaf), leaf, tf.add(leaf, 3)) : leaf.clone()), batch),
              )
              dispose(batch)
              yield { batch: garbage, weight }
            }
          },
        }
        const again = await evaluateLearner(method as Learner<State, Batch, unknown>, state.tensors, padded, key(5))
        for (const [name, value] of Object.entries(once)) {
          assert(
            Math.abs(value - again[name]) <= 1e-5 * Math.max(1, Math.abs(value)),
            `${name} is ${again[name]} with other padding, expected ${value}`,
          )
        }
      },
    })
  }
  if (learner().predict !== undefined) {
    checks.push({
      name: 'predictions of one key are bit-equal and keep the arguments',
      async run() {
        const { method, state, batch } = await setUp()
        const inputs = inputsOf(batch)
        const once = tidy(() => method.predict?.(state.tensors, inputs, key(6)) ?? [])
        const again = tidy(() => method.predict?.(state.tensors, inputs, key(6)) ?? [])
        assertBitEqual(once, again, 'two predictions with one key')
      },
    })
  }
  return checks
}

function rowMask(weight: tf.Tensor, leaf: tf.Tensor): tf.Tensor {
  const shape = leaf.shape.map((size, i) => (i === 0 ? size : 1))
  return tf.broadcastTo(tf.cast(tf.reshape(weight, shape), 'bool'), leaf.shape)
}

/** By convention a batch is the input itself or a record with the inputs under `x`. */
function inputsOf(batch: Tree): Tree {
  return batch !== null && typeof batch === 'object' && 'x' in batch ? (batch as { x: Tree }).x : batch
}

/** What {@link stagedContract} needs to know. */
export interface StagedContractOptions<State extends Tree, Batch extends Tree> {
  staged: () => Staged<State, Batch>
  dataset: () => Dataset<Batch>
}

/**
 * The checks every {@link Staged} method passes: determinism, and stopping and resuming inside stages and across stage
 * boundaries.
 */
export function stagedContract<State extends Tree, Batch extends Tree>(options: StagedContractOptions<State, Batch>): ContractCheck[] {
  const { staged, dataset } = options
  const train = async (extra: FitStagesOptions = {}) => fitStages(staged(), dataset(), { seed: 7, ...extra })
  return [
    {
      name: 'the same key gives bit-equal results',
      async run() {
        const [a, b] = [await train(), await train()]
        assert(a.stages === staged().stageCount, `expected ${staged().stageCount} stages, ran ${a.stages}`)
        assertBitEqual(a.state.tensors, b.state.tensors, 'two runs with one key')
        dispose(a.state.tensors, b.state.tensors)
      },
    },
    {
      name: 'a run resumed inside a stage or at a stage boundary is bit-equal to an uninterrupted one',
      async run() {
        const whole = await train()
        const total = await countSaves(train)
        for (let stopAfter = 1; stopAfter <= total; stopAfter++) {
          const checkpoints = memoryCheckpoints()
          try {
            dispose((await train({ checkpoints: failAfter(checkpoints, stopAfter), checkpointEvery: 2 })).state.tensors)
          } catch (error) {
            if (error !== crash) throw error
          }
          const rest = await train({ checkpoints, checkpointEvery: 2 })
          assertBitEqual(whole.state.tensors, rest.state.tensors, `resumed after checkpoint ${stopAfter}`)
          dispose(rest.state.tensors)
        }
        dispose(whole.state.tensors)
      },
    },
    {
      name: 'fitStages leaves no tensor behind',
      async run() {
        dispose((await train()).state.tensors)
        const before = tf.memory().numTensors
        dispose((await train()).state.tensors)
        assert(tf.memory().numTensors === before, `fitStages leaks ${tf.memory().numTensors - before} tensors`)
      },
    },
  ]
}

const crash = new Error('stopped by the contract suite')

/** A store that keeps its checkpoint and then stops the program, as a kill right after a save would. */
function failAfter(store: CheckpointStore, saves: number): CheckpointStore {
  let count = 0
  return {
    load: () => store.load(),
    async save(checkpoint, info) {
      await store.save(checkpoint, info)
      if (++count === saves) throw crash
    },
  }
}

async function countSaves(train: (extra: FitStagesOptions) => Promise<{ state: LearnerState<Tree> }>): Promise<number> {
  let count = 0
  const store = memoryCheckpoints()
  const run = await train({
    checkpoints: { load: () => store.load(), save: async (checkpoint, info) => (count++, store.save(checkpoint, info)) },
    checkpointEvery: 2,
  })
  dispose(run.state.tensors)
  return count
}
