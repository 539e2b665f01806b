import * as tf from '@tensorflow/tfjs-core'
import { OptionError } from '../errors'
import { define, filled, isNested } from './define'

/** The gradient of a complex z = a + ib is dL/da + i dL/db, so a linear map's is its conjugate transpose. */
function scaled(z: tf.Tensor, factor: number): tf.Tensor {
  return tf.complex(tf.mul(tf.real(z), factor), tf.mul(tf.imag(z), factor))
}

const lastSize = (z: tf.Tensor): number => z.shape[z.rank - 1]

/** TensorFlow.js drops the imaginary part of what reaches a saved complex tensor, so only first derivatives are right. */
export function refuseNested(operation: string): void {
  if (!isNested()) return
  throw new OptionError(
    `grad: ${operation} of complex tensors can be differentiated once, not twice. Write it with tf.real and tf.imag: sums and products of real tensors differentiate to any order.`,
  )
}

export const spectralGradients: tf.GradConfig[] = [
  define({
    kernel: 'Complex',
    gradients: (dy) => ({ real: () => tf.real(dy), imag: () => tf.imag(dy) }),
  }),
  define({ kernel: 'Real', gradients: (dy) => ({ input: () => tf.complex(dy, filled(dy.shape, 0)) }) }),
  define({ kernel: 'Imag', gradients: (dy) => ({ input: () => tf.complex(filled(dy.shape, 0), dy) }) }),
  // The transforms are symmetric: the transpose of the forward one is n times the inverse, and the other way round.
  define({ kernel: 'FFT', gradients: (dy) => ({ input: () => scaled(tf.ifft(dy), lastSize(dy)) }) }),
  define({ kernel: 'IFFT', gradients: (dy) => ({ input: () => scaled(tf.fft(dy), 1 / lastSize(dy)) }) }),
  // |z|: dz = dy · z / |z|, zero at zero.
  define({
    kernel: 'ComplexAbs',
    save: ['x'],
    gradients: (dy, [z]) => ({
      x: () => {
        refuseNested('the absolute value')
        const size = tf.abs(z)
        const direction = tf.divNoNan(dy, size)
        return tf.complex(tf.mul(direction, tf.real(z)), tf.mul(direction, tf.imag(z)))
      },
    }),
  }),
]
