import type { PeerName } from '../python'

/** An array that both sides get. */
export type InputArray = { data: Float32Array | Int32Array; shape: readonly number[] }

/** Our side of a workload, ready to run. */
export interface Prepared {
  /** One step: updates the parameters, if there are any, and returns the loss before the update (or another value to compare). */
  step(): Promise<number>
  dispose(): void
}

/** One piece of work that is timed on both sides, with the same arithmetic and the same numbers. */
export interface Workload {
  name: string
  /** One line for people: sizes and what a step does. */
  description: string
  /** Libraries for which `peers/` has the other side. */
  peers: readonly PeerName[]
  /** Numbers that shape the work; the peer reads them by name. A `learningRate` says that steps train. */
  settings: Readonly<Record<string, number>>
  /** The largest ratio of our time to eager PyTorch's that the contracts allow; without it the ratio is only reported. */
  bound?: number
  /** Steps in one timing. */
  repeat: number
  /** The same numbers at each call and on each backend. */
  inputs(): Readonly<Record<string, InputArray>>
  /** Our side on the backend in use; steps must be taken on that backend. */
  prepare(inputs: Readonly<Record<string, InputArray>>): Promise<Prepared>
}
