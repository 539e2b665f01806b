import * as tf from '@tensorflow/tfjs-core'

/** Tensors up to this size are joined: above, copying costs more than the operations that are saved. */
const smallSize = 1024

function areSmallFloats([first, ...others]: readonly tf.Tensor[]): boolean {
  const isFloat = [first, ...others].every(({ dtype }) => dtype === 'float32')
  return isFloat && first.size > 0 && first.size <= smallSize && others.every(({ shape }) => tf.util.arraysEqual(shape, first.shape))
}

function joinedTensor(tensors: readonly tf.Tensor[]): tf.Tensor1D {
  return tf.concat1d(tensors.map((tensor) => tf.reshape(tensor, [tensor.size]) as tf.Tensor1D))
}

/** The tensors with the small floats among them joined to one vector, for what asks them all the same. */
export function withSmallJoined(tensors: readonly tf.Tensor[]): tf.Tensor[] {
  const small = tensors.filter((tensor) => areSmallFloats([tensor]))
  return small.length < 2 ? [...tensors] : [joinedTensor(small), ...tensors.filter((tensor) => !small.includes(tensor))]
}

/**
 * Applies an elementwise function to tensors one position after another, small floats among them joined to one vector:
 * a network of a hundred small parameters then takes a dozen operations instead of a thousand, and the values are the same.
 *
 * @param fn - elementwise, with scalars besides; gets the tensors of a position, or the vectors joined of them
 * @param positions - the tensors that belong together
 * @returns what `fn` gives, per position
 */
export function elementwise(fn: (tensors: tf.Tensor[]) => tf.Tensor[], positions: readonly (readonly tf.Tensor[])[]): tf.Tensor[][] {
  const small = positions.filter(areSmallFloats)
  if (small.length < 2) return positions.map((tensors) => fn([...tensors]))
  const joined = small[0].map((_, k) => joinedTensor(small.map((tensors) => tensors[k])))
  const sizes = small.map(([tensor]) => tensor.size)
  const pieces = fn(joined).map((vector) => tf.split(vector, sizes))
  const ofSmall = new Map(small.map((tensors, i) => [tensors, pieces.map((parts) => tf.reshape(parts[i], tensors[0].shape))]))
  return positions.map((tensors) => ofSmall.get(tensors) ?? fn([...tensors]))
}
