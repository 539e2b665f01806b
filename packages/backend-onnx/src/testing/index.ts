import * as tf from '@tensorflow/tfjs-core'
import { trace } from '../trace'

/** A tensor as plain values, to be made anew on each backend. */
export interface Sample {
  values: number[]
  shape: number[]
  dtype?: 'float32' | 'int32' | 'bool'
}

/** Values that repeat from run to run: a linear congruence, in [−1, 1). With `levels`, few values, so that ties are common. */
export function sample(shape: number[], seed: number, levels?: number): Sample {
  let state = (seed * 2654435761 + 12345) >>> 0
  const values = Array.from({ length: tf.util.sizeFromShape(shape) }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    const unit = state / 2 ** 32
    return levels === undefined ? 2 * unit - 1 : Math.floor(unit * levels)
  })
  return { values, shape }
}

function made({ values, shape, dtype = 'float32' }: Sample): tf.Tensor {
  return tf.tensor(values, shape, dtype)
}

type Fn = (inputs: tf.Tensor[]) => tf.Tensor[]

async function on(
  backend: string,
  samples: Sample[],
  run: (inputs: tf.Tensor[]) => tf.Tensor[],
): Promise<{ shape: number[]; values: number[] }[]> {
  await tf.setBackend(backend)
  // The cpu backend would advise to install tfjs-node.
  if (backend === 'cpu') (tf.backend() as unknown as { firstUse: boolean }).firstUse = false
  const outputs = tf.tidy(() => run(samples.map(made)))
  const read = outputs.map((tensor) => ({ shape: tensor.shape, values: Array.from(tensor.dataSync()) }))
  tf.dispose(outputs)
  return read
}

function greatest(values: number[]): number {
  return values.reduce((max, value) => Math.max(max, Math.abs(value)), 0)
}

/** The largest deviation of eager and compiled from the cpu backend, over the largest value; Infinity where shapes differ. */
export async function deviation(fn: Fn, samples: Sample[], precision: 'float32' | 'float64' = 'float32'): Promise<number> {
  const expected = await on('cpu', samples, fn)
  const compiled = await on('onnx', samples, (inputs) => {
    const traced = trace(
      (...symbols) => fn(symbols),
      inputs.map(({ shape, dtype }) => ({ shape, dtype: dtype as 'float32' })),
      { precision },
    )
    const results = traced.run(inputs)
    traced.dispose()
    return results
  })
  const eager = precision === 'float64' ? [] : await on('onnx', samples, fn)
  const pairs = [...compiled.map((result, i) => [result, expected[i]]), ...eager.map((result, i) => [result, expected[i]])]
  return pairs.reduce((worst, [got, wanted]) => {
    if (got.shape.join() !== wanted.shape.join()) return Infinity
    const scale = Math.max(1e-3, greatest(wanted.values))
    const error = got.values.reduce(
      (max, value, i) => Math.max(max, Object.is(value, wanted.values[i]) ? 0 : Math.abs(value - wanted.values[i])),
      0,
    )
    return Math.max(worst, Number.isNaN(error) ? Infinity : error / scale)
  }, 0)
}

/** A kernel as a function of its inputs in order. */
export function kernel(name: string, inputNames: string[], attrs: object): Fn {
  return (inputs) => {
    const named = Object.fromEntries(inputNames.map((input, i) => [input, inputs[i]]))
    const result = tf.engine().runKernel(name, named, attrs as tf.NamedAttrMap)
    return (Array.isArray(result) ? result : [result]) as tf.Tensor[]
  }
}
