import * as tf from '@tensorflow/tfjs-core'
import { passComplex } from './complex-cotangent'

/** One lazily computed gradient per input of a kernel. */
export type InputGradients = Record<string, () => tf.Tensor>

type Definition<Attributes> = {
  kernel: string
  /** Inputs the gradient reads, in the order they are handed over. */
  save?: string[]
  /** The kernel takes a list of tensors: all are handed over. */
  saveAll?: boolean
  /** Hands over the single output, or those marked, after the inputs; see {@link output} before using one. */
  saveOutput?: true | boolean[]
  gradients: (dy: tf.Tensor, saved: tf.Tensor[], attributes: Attributes) => InputGradients
}

/** A gradient for the registry, from typed parts. */
export function define<Attributes = Record<string, never>>(definition: Definition<Attributes>): tf.GradConfig {
  const { kernel, save, saveAll, saveOutput, gradients } = definition
  return {
    kernelName: kernel,
    inputsToSave: save,
    saveAllInputs: saveAll,
    outputsToSave: saveOutput === true ? [true] : saveOutput,
    gradFunc: (dy, saved, attributes) => {
      const thunks = gradients(dy as tf.Tensor, saved, attributes as unknown as Attributes)
      return Object.fromEntries(Object.entries(thunks).map(([name, thunk]) => [name, () => passComplex(thunk())]))
    },
  }
}

/** Whether the gradient being computed is itself differentiated. */
export function isNested(): boolean {
  return tf.engine().state.gradientDepth > 0
}

/**
 * The saved output of a kernel, in a form that may be differentiated.
 *
 * TensorFlow.js records the copy it saves of an output before the kernel itself, so a second derivative does not find
 * the way from that copy back to the input and comes out wrong. Where the gradient is differentiated again the output
 * is computed anew from the inputs; otherwise the saved one serves and costs nothing.
 */
export function output(saved: tf.Tensor, recompute: () => tf.Tensor): tf.Tensor {
  return isNested() ? recompute() : saved
}

/** A kernel of one input `x`: `dx` from `dy` and `x`. */
export function unary<Attributes = Record<string, never>>(
  kernel: string,
  dx: (dy: tf.Tensor, x: tf.Tensor, attributes: Attributes) => tf.Tensor,
): tf.GradConfig {
  return define<Attributes>({ kernel, save: ['x'], gradients: (dy, [x], attributes) => ({ x: () => dx(dy, x, attributes) }) })
}

/** A kernel of one input `x` whose gradient is simplest in its output `y = fn(x)`. */
export function unaryFromOutput(
  kernel: string,
  fn: (x: tf.Tensor) => tf.Tensor,
  dx: (dy: tf.Tensor, y: tf.Tensor) => tf.Tensor,
): tf.GradConfig {
  return define({
    kernel,
    save: ['x'],
    saveOutput: true,
    gradients: (dy, [x, y]) => ({
      x: () =>
        dx(
          dy,
          output(y, () => fn(x)),
        ),
    }),
  })
}

/** A kernel of two broadcast inputs `a` and `b`; the gradients are summed over what was broadcast. */
export function binary(
  kernel: string,
  da: (dy: tf.Tensor, a: tf.Tensor, b: tf.Tensor) => tf.Tensor,
  db: (dy: tf.Tensor, a: tf.Tensor, b: tf.Tensor) => tf.Tensor,
): tf.GradConfig {
  return define({
    kernel,
    save: ['a', 'b'],
    gradients: (dy, [a, b]) => ({
      a: () => sumTo(da(dy, a, b), a.shape),
      b: () => sumTo(db(dy, a, b), b.shape),
    }),
  })
}

/** A kernel that is constant wherever it is differentiable: zeros for each input. */
export function constant(kernel: string, inputs: string[]): tf.GradConfig {
  return define({
    kernel,
    save: inputs,
    gradients: (_, saved) => Object.fromEntries(inputs.map((name, i) => [name, () => filled(saved[i].shape, 0)])),
  })
}

/**
 * The gradient of a kernel found by differentiating `fn`, which computes the same from other operations. For rare
 * kernels without a gradient kernel: `fn` runs anew in every backward pass.
 *
 * @param inputs - names of the differentiable inputs
 * @param indices - names of the integer inputs, which get zeros
 * @param fn - gets all inputs in this order
 */
export function composed<Attributes>(
  kernel: string,
  inputs: string[],
  indices: string[],
  fn: (inputs: tf.Tensor[], attributes: Attributes) => tf.Tensor,
): tf.GradConfig {
  return define<Attributes>({
    kernel,
    save: [...inputs, ...indices],
    gradients: (dy, saved, attributes) => ({
      ...Object.fromEntries(inputs.map((name, i) => [name, () => gradientThrough(() => fn(saved, attributes), saved[i], dy)])),
      ...Object.fromEntries(indices.map((name, i) => [name, () => filled(saved[inputs.length + i].shape, 0)])),
    }),
  })
}

function gradientThrough(fn: () => tf.Tensor, x: tf.Tensor, dy: tf.Tensor): tf.Tensor {
  const { state } = tf.engine()
  const tape = state.activeTape
  try {
    return tf.engine().gradients(fn, [x], dy, true).grads[0] ?? filled(x.shape, 0)
  } finally {
    // An outermost gradient clears the tape when it is done, but the one we were called from still needs it.
    state.activeTape = tape
  }
}

/** Sums what broadcasting repeated, so that the result has `shape`. Always a new tensor. */
export function sumTo(x: tf.Tensor, shape: number[]): tf.Tensor {
  const axes = tf.backend_util.getReductionAxes(shape, x.shape)
  if (axes.length === 0) return tf.reshape(x, shape)
  const kept = x.shape.slice(axes.length).reduce((a, b) => a * b, 1)
  const isLeading = axes.every((axis, i) => axis === i) && x.size > 0
  // A bias's gradient: the cpu backend would transpose first; the product with ones is several times faster.
  if (isLeading && tf.getBackend() === 'cpu') {
    return tf.reshape(tf.matMul(filled([1, x.size / kept], 1), tf.reshape(x, [x.size / kept, kept])), shape)
  }
  return tf.reshape(tf.sum(x, axes), shape)
}

/** A constant float tensor made by a kernel, so that a traced graph holds a fill and not the values. */
export function filled(shape: number[], value: number): tf.Tensor {
  return tf.fill(shape, value)
}

/** Runs a kernel that has no public function. */
export function runKernel(kernel: string, inputs: Record<string, tf.Tensor>, attributes: Record<string, unknown> = {}): tf.Tensor {
  return tf.engine().runKernel(kernel, inputs, attributes as tf.NamedAttrMap)
}

/** Axes as a list of non-negative numbers; all axes when none are given. */
export function parseAxes(axis: number | number[] | undefined | null, shape: number[]): number[] {
  if (axis === undefined || axis === null) return shape.map((_, i) => i)
  return tf.util.parseAxisParam(axis, shape)
}

/** `shape` with the reduced axes kept as 1. */
export function keptShape(shape: number[], axes: number[]): number[] {
  return shape.map((size, i) => (axes.includes(i) ? 1 : size))
}

/** Repeats `x` along its axes of size 1 up to `shape`; the ranks are equal. */
export function broadcastTo(x: tf.Tensor, shape: number[]): tf.Tensor {
  if (tf.util.arraysEqual(x.shape, shape)) return tf.reshape(x, shape)
  // Without its leading axes of size 1 the factor takes the cpu backend's fast path.
  const first = x.shape.findIndex((size) => size !== 1)
  return tf.mul(tf.reshape(x, first < 0 ? [] : x.shape.slice(first)), filled(shape, 1))
}

/** [rows, 1] int32: where each row of a flattened [rows, width] begins. */
export function rowOffsets(rows: number, width: number): tf.Tensor {
  return tf.reshape(tf.range(0, rows * width, width, 'int32'), [rows, 1])
}

/** The shape as plain numbers, for destructuring a tensor of unknown rank. */
export function sizes(x: tf.Tensor): number[] {
  return x.shape
}

/**
 * 1 where a scatter with these `indices` writes nothing, else 0. (tf.tensorScatterUpdate would say it in one call, but
 * on the cpu backend it overwrites its input.)
 */
export function untouched(indices: tf.Tensor, shape: number[]): tf.Tensor {
  const depth = sizes(indices)[indices.rank - 1]
  const written = tf.scatterND(indices, filled([...indices.shape.slice(0, -1), ...shape.slice(depth)], 1), shape)
  return tf.cast(tf.equal(written, 0), 'float32')
}
