import { OptionError } from '@bpf/core'
import type { Coefficients, Process } from '../process'

/** A time with what solvers need of it. */
export interface Point extends Coefficients {
  t: number
  /** λ = ln(α/σ). */
  lambda: number
  /** σ/α: the noise level where the process is scaled to α = 1. */
  level: number
}

export function pointAt(process: Process, t: number): Point {
  const at = process.coefficients(t)
  return { ...at, t, lambda: Math.log(at.alpha / at.sigma), level: at.sigma / at.alpha }
}

/** The points of a grid as pairs (from, to). */
export function pairs(process: Process, times: readonly number[]): { from: Point; to: Point }[] {
  const points = times.map((t) => pointAt(process, t))
  return points.slice(1).map((to, i) => ({ from: points[i], to }))
}

/** @throws OptionError where a solver in λ or σ/α starts without any signal */
export function checkSignal(solver: string, process: Process, { alpha, t }: Point): void {
  if (alpha === 0) {
    throw new OptionError(
      `${solver}: alpha is 0 at t = ${t} of '${process.name}', so sigma/alpha is infinite; start below it (grid.start), or use ddim() or euler()`,
    )
  }
}

/** @throws OptionError unless a noise option is finite and at least 0 */
export function checkEta(solver: string, name: string, value: number): void {
  if (!(value >= 0 && value < Infinity)) throw new OptionError(`${solver}: ${name} must be at least 0 and finite, got ${value}`)
}
