/** The objective of a network as one native call in double precision, for work that outweighs the call. */
import { compile, float64Tensor } from '@bpf/core'
import * as tf from '@tensorflow/tfjs-core'
import type { NetworkObjectiveOptions, UnitActivation } from './small-network'

/** Value and gradient of the data's part of the objective, summed over rows and without the penalty, in one vector. */
type SummedObjective = (w: tf.Tensor, x: tf.Tensor, target: tf.Tensor) => tf.Tensor

const activations: Record<UnitActivation, { value: (z: tf.Tensor) => tf.Tensor; slope: (h: tf.Tensor) => tf.Tensor }> = {
  logistic: { value: tf.sigmoid, slope: (h) => tf.mul(h, tf.sub(1, h)) },
  tanh: { value: tf.tanh, slope: (h) => tf.sub(1, tf.square(h)) },
  relu: { value: tf.relu, slope: (h) => tf.step(h) },
}

/** Loss summed over rows, and its derivative by the outputs [n, K']. */
function outputErrors(
  outputs: tf.Tensor,
  target: tf.Tensor,
  loss: NetworkObjectiveOptions['loss'],
): { value: tf.Tensor; error: tf.Tensor } {
  if (loss === 'squared') {
    const error = tf.sub(outputs, target)
    return { value: tf.mul(0.5, tf.sum(tf.square(error))), error }
  }
  const shifted = tf.sub(outputs, tf.max(outputs, 1, true))
  const powers = tf.exp(shifted)
  const sums = tf.sum(powers, 1, true)
  const value = tf.sub(tf.sum(tf.log(sums)), tf.sum(tf.mul(target, shifted)))
  return { value, error: tf.sub(tf.div(powers, sums), target) }
}

function summedObjective({ features: d, units: J, outputs: K, activation, loss }: NetworkObjectiveOptions): SummedObjective {
  const [b1, W2, b2] = [d * J, d * J + J, d * J + J + J * K]
  const { value: activate, slope } = activations[activation]
  return compile(
    (w: tf.Tensor, x: tf.Tensor, target: tf.Tensor) => {
      const first = tf.reshape(tf.slice(w, 0, b1), [J, d]) as tf.Tensor2D
      const second = tf.reshape(tf.slice(w, W2, J * K), [J, K]) as tf.Tensor2D
      const hidden = activate(tf.add(tf.matMul(x as tf.Tensor2D, first, false, true), tf.slice(w, b1, J))) as tf.Tensor2D
      const { value, error } = outputErrors(tf.add(tf.matMul(hidden, second), tf.slice(w, b2, K)), target, loss)
      const back = tf.mul(tf.matMul(error as tf.Tensor2D, second, false, true), slope(hidden)) as tf.Tensor2D
      const parts = [
        value,
        tf.matMul(back, x as tf.Tensor2D, true, false),
        tf.sum(back, 0),
        tf.matMul(hidden, error as tf.Tensor2D, true, false),
        tf.sum(error, 0),
      ]
      return tf.concat(parts.map((part) => tf.reshape(part, [-1])))
    },
    { precision: 'float64', name: 'networkObjective' },
  )
}

/** One compiled function for each kind of network, however often networks of it are fitted. */
const compiled = new Map<string, SummedObjective>()

function compiledFor(options: NetworkObjectiveOptions): SummedObjective {
  const { features, units, outputs, activation, loss } = options
  const kind = [features, units, outputs, activation, loss].join(' ')
  const run = compiled.get(kind) ?? summedObjective(options)
  compiled.set(kind, run)
  return run
}

/**
 * Rows in the backend's double precision, and the objective over them without its penalty and its division by their number.
 *
 * @param x - [n, d], kept by the backend
 * @param target - [n, K'], kept too
 */
export function compiledObjective(
  x: Float64Array,
  target: Float64Array,
  options: NetworkObjectiveOptions,
): { evaluate(w: Float64Array): { value: number; gradient: Float64Array }; dispose(): void } {
  const rows = x.length / options.features
  const run = compiledFor(options)
  const data = [float64Tensor(x, [rows, options.features]), float64Tensor(target, [rows, options.outputs])] as const
  return {
    evaluate(w) {
      const weights = float64Tensor(w.slice(), [w.length])
      const result = run(weights, ...data)
      const values = Float64Array.from(result.dataSync())
      tf.dispose([weights, result])
      return { value: values[0], gradient: values.subarray(1) }
    },
    dispose: () => tf.dispose([...data]),
  }
}
