import type { PeerName } from '../python'

/** An array that both sides get. */
export type InputArray = { data: Float32Array | Int32Array; shape: readonly number[] }

/** Our side of a workload, ready to run. */
export interface Prepared {
  /** One step of the training loop: updates the parameters and returns the loss before the update. */
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
  /** Numbers that shape the work; the peer reads them by name. */
  settings: Readonly<Record<string, number>>
  /** Steps in one timing. */
  repeat: number
  inputs(): Readonly<Record<string, InputArray>>
  prepare(inputs: Readonly<Record<string, InputArray>>): Promise<Prepared>
}
