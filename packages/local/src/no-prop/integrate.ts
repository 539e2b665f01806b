/** Fixed-step integration of dz/dt = v(z, t) over [0, 1]. */
import { scan, type Tree } from '@bpf/core'
import * as tf from '@tensorflow/tfjs-core'

/** Explicit Runge–Kutta methods of order 1, 2 and 4. */
export type OdeSolver = 'euler' | 'heun' | 'rk4'

/** Where within a step, as parts of it, the velocity is evaluated. */
const offsets: Readonly<Record<OdeSolver, readonly number[]>> = { euler: [0], heun: [0, 1], rk4: [0, 0.5, 1] }

/**
 * @param velocity - v at z, with what `at` gave for the time
 * @param at - from times [steps] to a tree of leaves [steps, …], one entry for each time
 * @param keepPath - also z after every step
 * @returns z at t = 1, and the path from z_0 on, [steps + 1, …]
 */
export function integrate<At extends Tree>(
  velocity: (z: tf.Tensor, at: At) => tf.Tensor,
  at: (times: tf.Tensor) => At,
  z0: tf.Tensor,
  { steps, solver, keepPath }: { steps: number; solver: OdeSolver; keepPath: boolean },
): { end: tf.Tensor; path: tf.Tensor | undefined } {
  const h = 1 / steps
  const moments = offsets[solver].map((offset) => at(tf.tensor1d(Array.from({ length: steps }, (_, i) => Math.min((i + offset) * h, 1)))))
  const along = (z: tf.Tensor, v: tf.Tensor, time: number) => tf.add(z, tf.mul(v, time))
  const next: Record<OdeSolver, (z: tf.Tensor, moments: readonly At[]) => tf.Tensor> = {
    euler: (z, [now]) => along(z, velocity(z, now), h),
    heun(z, [now, then]) {
      const k1 = velocity(z, now)
      const k2 = velocity(along(z, k1, h), then)
      return along(z, tf.add(k1, k2), h / 2)
    },
    rk4(z, [now, middle, then]) {
      const k1 = velocity(z, now)
      const k2 = velocity(along(z, k1, h / 2), middle)
      const k3 = velocity(along(z, k2, h / 2), middle)
      const k4 = velocity(along(z, k3, h), then)
      return along(z, tf.add(tf.add(k1, k4), tf.mul(2, tf.add(k2, k3))), h / 6)
    },
  }
  return loop((z, now: readonly At[]) => next[solver](z, now), z0, moments, keepPath)
}

/** z after as many steps as the leaves of `xs` have entries, and the path from z_0 on where it is kept. */
export function loop<X extends Tree>(
  step: (z: tf.Tensor, x: X, key: Parameters<Parameters<typeof scan>[0]>[2]) => tf.Tensor,
  z0: tf.Tensor,
  xs: X,
  keepPath: boolean,
  key?: Parameters<Parameters<typeof scan>[0]>[2],
): { end: tf.Tensor; path: tf.Tensor | undefined } {
  const { carry, ys } = scan<tf.Tensor, X, readonly tf.Tensor[]>(
    (z, x, stepKey) => {
      const after = step(z, x, stepKey)
      return { carry: after, y: keepPath ? [after] : [] }
    },
    z0,
    xs,
    { key },
  )
  return { end: carry, path: keepPath ? tf.concat([tf.expandDims(z0, 0), ys[0]], 0) : undefined }
}
