/** Parts of pseudo numerical methods (Liu et al. 2022, arXiv 2202.09778) on tensors, for times of any kind. */
import * as tf from '@tensorflow/tfjs-core'

/**
 * DDIM's deterministic step on tensors, in ᾱ, without a division that cancels:
 * x + (ᾱ_b − ᾱ_a) [x / (√ᾱ_a (√ᾱ_a + √ᾱ_b)) − ε / (√ᾱ_a (√((1 − ᾱ_b) ᾱ_a) + √((1 − ᾱ_a) ᾱ_b)))].
 *
 * @param x - state at a, [n, ...dims]
 * @param eps - predicted noise, as x
 * @param from - ᾱ_a, a number, [n], or what broadcasts to x
 * @param to - ᾱ_b, likewise; 1 is clean data
 */
export function ddimTransfer(x: tf.Tensor, eps: tf.Tensor, from: tf.Tensor | number, to: tf.Tensor | number): tf.Tensor {
  return tf.tidy(() => {
    const shaped = (value: tf.Tensor | number): tf.Tensor => {
      if (typeof value === 'number') return tf.scalar(value)
      return value.rank === 1 && x.rank > 1 ? tf.reshape(value, [value.size, ...x.shape.slice(1).map(() => 1)]) : value
    }
    const [a, b] = [shaped(from), shaped(to)]
    const root = tf.sqrt(a)
    const onState = tf.mul(root, tf.add(root, tf.sqrt(b)))
    const onNoise = tf.mul(root, tf.add(tf.sqrt(tf.mul(tf.sub(1, b), a)), tf.sqrt(tf.mul(tf.sub(1, a), b))))
    return tf.add(x, tf.mul(tf.sub(b, a), tf.sub(tf.div(x, onState), tf.div(eps, onNoise))))
  })
}

/** A network and a transfer over times of any kind: numbers, or per-sample tensors. */
export interface Pseudo<Time> {
  eps(x: tf.Tensor, t: Time): tf.Tensor
  /** The state at `to` when the noise between is `eps`. */
  transfer(x: tf.Tensor, eps: tf.Tensor, from: Time, to: Time): tf.Tensor
}

/** S-PNDM's first step: `first` = ε(x, from) is what is remembered, `slope` the mean of both ends. */
export function pseudoImprovedEuler<Time>({ eps, transfer }: Pseudo<Time>, x: tf.Tensor, from: Time, to: Time) {
  const first = eps(x, from)
  const second = eps(transfer(x, first, from, to), to)
  return { first, slope: tf.div(tf.add(first, second), 2) }
}

/** F-PNDM's first three steps: `first` is remembered, `slope` = (e₁ + 2e₂ + 2e₃ + e₄)/6. */
export function pseudoRungeKutta<Time>({ eps, transfer }: Pseudo<Time>, x: tf.Tensor, from: Time, middle: Time, to: Time) {
  const first = eps(x, from)
  const second = eps(transfer(x, first, from, middle), middle)
  const third = eps(transfer(x, second, from, middle), middle)
  const fourth = eps(transfer(x, third, from, to), to)
  return { first, slope: tf.div(tf.addN([first, tf.mul(second, 2), tf.mul(third, 2), fourth]), 6) }
}

/** Adams–Bashforth weights of the noise now and before, by order. */
export const adamsBashforth: Readonly<Record<2 | 4, readonly number[]>> = {
  2: [3 / 2, -1 / 2],
  4: [55 / 24, -59 / 24, 37 / 24, -9 / 24],
}
