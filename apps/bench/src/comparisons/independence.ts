import { Worker } from 'node:worker_threads'
import type { BlockTask, TrainedBlocks } from './block-training'

/** What training the blocks of one network in parallel threads gave. */
export type Independence = {
  threads: number
  blocks: number
  serialSeconds: number
  parallelSeconds: number
  /** Number of weights that differ in any bit; 0 is the claim. */
  differing: number
}

/** The thread's own file, which the build writes beside this module's chunk. */
const workerFile = new URL('./block-worker.js', import.meta.url)

/** Trains shares of the blocks, each in its own thread, all at once; the clock runs from the common start to the last answer. */
async function inThreads(tasks: readonly BlockTask[], signal: AbortSignal): Promise<{ seconds: number; results: TrainedBlocks[] }> {
  const workers = tasks.map((workerData) => new Worker(workerFile, { workerData }))
  const failed = new Promise<never>((_, reject) => {
    workers.forEach((worker) => worker.once('error', reject))
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
  })
  const answer = <T>(worker: Worker): Promise<T> => Promise.race([failed, new Promise<T>((resolve) => worker.once('message', resolve))])
  try {
    await Promise.all(workers.map((worker) => answer(worker)))
    const begun = performance.now()
    const answers = workers.map((worker) => answer<TrainedBlocks>(worker))
    workers.forEach((worker) => worker.postMessage('go'))
    const results = await Promise.all(answers)
    return { seconds: (performance.now() - begun) / 1000, results }
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()))
  }
}

/**
 * Trains the blocks of one NoProp network in one thread, then spread over several, with one native thread each.
 *
 * @param task - all blocks of the network
 */
export async function measureIndependence(task: BlockTask, threads: number, signal: AbortSignal): Promise<Independence> {
  const share = Math.ceil(task.mine.length / threads)
  const shares = Array.from({ length: threads }, (_, i) => ({ ...task, mine: task.mine.slice(i * share, (i + 1) * share) }))
  const serial = await inThreads([task], signal)
  const parallel = await inThreads(shares, signal)
  const [one, several] = [serial.results.flat(), parallel.results.flat()]
  let differing = one.length === several.length ? 0 : Infinity
  one.forEach((weights, leaf) => weights.forEach((value, i) => (differing += Object.is(value, several[leaf]?.[i]) ? 0 : 1)))
  return { threads, blocks: task.steps, serialSeconds: serial.seconds, parallelSeconds: parallel.seconds, differing }
}
