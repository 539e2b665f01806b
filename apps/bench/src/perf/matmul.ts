import { compile, random } from '@bpf/core'
import * as tf from '@tensorflow/tfjs-core'
import { tensorOf, uniform } from './training'
import type { Workload } from './workload'

/** A square matrix product; what is compared is one element of the diagonal after the other. */
function matmul(size: number, repeat: number): Workload {
  return {
    name: `matmul-${size}`,
    description: `product of two ${size} × ${size} matrices`,
    peers: ['torch', 'jax'],
    settings: { size },
    bound: 1,
    repeat,
    inputs() {
      const keys = random.split(random.key(0), 2)
      return { a: uniform(keys[0], [size, size], 1), b: uniform(keys[1], [size, size], 1) }
    },
    prepare(arrays) {
      const [a, b] = [tensorOf(arrays.a), tensorOf(arrays.b)]
      const product = compile((x: tf.Tensor, y: tf.Tensor) => tf.matMul(x as tf.Tensor2D, y as tf.Tensor2D), { name: 'matmul' })
      let next = 0
      return Promise.resolve({
        async step() {
          const c = product(a, b)
          const values = await c.data()
          c.dispose()
          return values[(next++ % size) * (size + 1)]
        },
        dispose: () => tf.dispose([a, b]),
      })
    },
  }
}

export const matmul256 = matmul(256, 50)
export const matmul1024 = matmul(1024, 3)
