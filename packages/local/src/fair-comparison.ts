/**
 * The protocol of Spyra and Dzwinel, "Beyond Backpropagation", 2025, arXiv 2511.01061: methods on the same architecture, data
 * and stopping rule, several runs of each, with accuracy, time, memory and arithmetic side by side. Bytes and multiply-adds are
 * counted on the trace of a step, not measured; energy is an estimate from them and called so.
 */
import { account, activationBytes, OptionError, tree, type FitEvent, type Key, type Learner, type Reporter, type Tree } from '@bpf/core'
import { key as makeKey } from '@bpf/core/random'
import type { ArrayLeaf, LabelsInput } from '@bpf/core/data'

/** What one training step costs. */
export interface StepCost {
  /** Multiply-adds of its matrix products and convolutions. */
  multiplyAdds: number
  /** Bytes of the tensors that are alive at once, without those that the step is given. */
  peakBytes: number
  /** How many of these each further example of a batch adds. */
  activationBytes: number
}

/**
 * Counts a step of a learner on its trace.
 *
 * @param tensors - the learner's state
 * @param batchOf - a batch of so many examples; its values do not matter
 * @param batchSize - examples in a step
 * @throws BackendError on a backend that does not compile
 */
export function stepCost<State extends Tree, Batch extends Tree>(
  learner: Pick<Learner<State, Batch, unknown>, 'step'>,
  tensors: State,
  batchOf: (size: number) => Batch,
  batchSize: number,
): StepCost {
  const key = makeKey(0)
  const step = (state: State, batch: Batch, stepKey: Key) => learner.step(state, batch, stepKey)
  const batches: Batch[] = []
  const made = (size: number): Batch => {
    batches.push(batchOf(size))
    return batches[batches.length - 1]
  }
  try {
    const { multiplyAdds, peakBytes } = account(step, tensors, made(batchSize), key)
    return { multiplyAdds, peakBytes, activationBytes: activationBytes(step, (size): [State, Batch, Key] => [tensors, made(size), key]) }
  } finally {
    tree.dispose(...batches)
  }
}

/** Stages of a training: what a step of each costs, and how many there were. */
export type CountedStages = readonly { cost: StepCost; steps: number }[]

/** A method's entry in {@link fairComparison}. */
export interface Contender {
  /** Trains once, all randomness from the key. */
  fit(key: Key): Promise<{
    model: { score(X: ArrayLeaf, y: LabelsInput): Promise<number>; dispose(): void }
    /** Counted outside of the time measured. */
    stages(): CountedStages
  }>
}

/** One run of one contender. */
export type ContenderRun = {
  /** On the test examples. */
  accuracy: number
  /** From the call of `fit` to the fitted model. */
  seconds: number
  /** Of all training steps. */
  multiplyAdds: number
  /** The largest of any stage. */
  peakBytes: number
  activationBytes: number
  /** Multiply-adds times `joulesPerMultiplyAdd`: arithmetic only, neither memory traffic nor idle power. Nothing was measured. */
  estimatedJoules: number
}

/** Options of {@link fairComparison}. */
export interface FairComparisonOptions {
  test: { x: ArrayLeaf; y: LabelsInput }
  /** One run for each. */
  keys: readonly Key[]
  /** A clock in milliseconds: `() => performance.now()`. */
  now: () => number
  /** Default 4.6e-12 J, a float32 multiply and add at 45 nm (Horowitz 2014). */
  joulesPerMultiplyAdd?: number
}

/**
 * Trains every contender once for each key, one after the other, and measures them alike.
 *
 * @returns the runs of each contender, in the order of keys
 * @throws OptionError without keys, or for a joulesPerMultiplyAdd that is not positive
 */
export async function fairComparison<Name extends string>(
  contenders: Readonly<Record<Name, Contender>>,
  { test, keys, now, joulesPerMultiplyAdd = 4.6e-12 }: FairComparisonOptions,
): Promise<Record<Name, ContenderRun[]>> {
  if (keys.length === 0) throw new OptionError('fairComparison: keys must have one key per run, got none')
  if (!(joulesPerMultiplyAdd > 0)) {
    throw new OptionError(`fairComparison: joulesPerMultiplyAdd must be positive, got ${joulesPerMultiplyAdd}`)
  }
  const results = {} as Record<Name, ContenderRun[]>
  for (const name of Object.keys(contenders) as Name[]) {
    results[name] = []
    for (const key of keys) {
      const started = now()
      const { model, stages } = await contenders[name].fit(key)
      const seconds = (now() - started) / 1000
      const counted = stages()
      const multiplyAdds = counted.reduce((sum, { cost, steps }) => sum + cost.multiplyAdds * steps, 0)
      results[name].push({
        accuracy: await model.score(test.x, test.y),
        seconds,
        multiplyAdds,
        peakBytes: Math.max(0, ...counted.map(({ cost }) => cost.peakBytes)),
        activationBytes: Math.max(0, ...counted.map(({ cost }) => cost.activationBytes)),
        estimatedJoules: multiplyAdds * joulesPerMultiplyAdd,
      })
      model.dispose()
    }
  }
  return results
}

/**
 * The study's early stopping, for `fit` and `fitClassifier` with `validation`: a run ends when the validation loss has not fallen
 * by `minDelta` for `patience` validations, with the weights of that moment and the reason `aborted`.
 *
 * @returns `reporter` and `signal` for the options of the run
 */
export function earlyStopping({
  patience = 5,
  minDelta = 1e-4,
  reporter,
  signal,
}: {
  patience?: number
  minDelta?: number
  /** Hears everything too. */
  reporter?: Reporter
  /** Ends the run too. */
  signal?: AbortSignal
}): { reporter: Reporter; signal: AbortSignal } {
  const controller = new AbortController()
  if (signal?.aborted) controller.abort(signal.reason)
  const forward = (): void => controller.abort(signal?.reason)
  signal?.addEventListener('abort', forward)
  let best = Infinity
  let waited = 0
  const report = (event: FitEvent): void => {
    reporter?.report(event)
    if (event.type === 'end') signal?.removeEventListener('abort', forward)
    if (event.type !== 'validation') return
    const { loss } = event.metrics
    waited = loss < best - minDelta ? 0 : waited + 1
    if (waited === 0) best = loss
    if (waited >= patience) controller.abort()
  }
  return { reporter: { report }, signal: controller.signal }
}
