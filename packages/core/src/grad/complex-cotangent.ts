import type * as tf from '@tensorflow/tfjs-core'

/**
 * Lets a complex gradient pass along TensorFlow.js's tape.
 *
 * The tape checks once, right after a gradient function returns, that the gradient's dtype is float32, and would refuse
 * complex64, though everything after that check (adding gradients, handing them on) works for complex tensors. So the
 * tensor answers that one question with float32 and every later one with the truth. A tensor of another dtype is
 * returned as it is.
 */
export function passComplex(gradient: tf.Tensor): tf.Tensor {
  if (gradient.dtype !== 'complex64') return gradient
  let asked = false
  Object.defineProperty(gradient, 'dtype', {
    configurable: true,
    enumerable: true,
    get() {
      if (asked) return 'complex64'
      asked = true
      return 'float32'
    },
  })
  return gradient
}
