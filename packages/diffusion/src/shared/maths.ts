import * as tf from '@tensorflow/tfjs-core'

/** Elementary functions on numbers or on tensors, so that a schedule's formula is written once. */
export interface Maths<T> {
  add(a: T, b: T | number): T
  sub(a: T | number, b: T): T
  mul(a: T, b: T | number): T
  div(a: T, b: T): T
  exp(a: T): T
  /** e^a − 1, exact near 0. */
  expm1(a: T): T
  sqrt(a: T): T
  sin(a: T): T
  cos(a: T): T
}

export const numbers: Maths<number> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
  exp: Math.exp,
  expm1: Math.expm1,
  sqrt: Math.sqrt,
  sin: Math.sin,
  cos: Math.cos,
}

export const tensors: Maths<tf.Tensor> = {
  add: (a, b) => tf.add(a, b),
  sub: (a, b) => tf.sub(a, b),
  mul: (a, b) => tf.mul(a, b),
  div: (a, b) => tf.div(a, b),
  exp: (a) => tf.exp(a),
  expm1: (a) => tf.expm1(a),
  sqrt: (a) => tf.sqrt(a),
  sin: (a) => tf.sin(a),
  cos: (a) => tf.cos(a),
}

/** Per-sample values [n] as [n, 1, …], to go with `x` [n, ...dims]. */
export function perSample(values: tf.Tensor, x: tf.Tensor): tf.Tensor {
  return tf.reshape(values, [values.size, ...x.shape.slice(1).map(() => 1)])
}

/** Mean over all axes but the first: [n]. */
export function meanPerSample(x: tf.Tensor): tf.Tensor {
  return tf.mean(tf.reshape(x, [x.shape[0], -1]), 1)
}

/** Sum over all axes but the first: [n]. */
export function sumPerSample(x: tf.Tensor): tf.Tensor {
  return tf.sum(tf.reshape(x, [x.shape[0], -1]), 1)
}
