/**
 * The continuous noise schedule of NoProp-CT: ᾱ(t) = sigmoid(γ(t)) with γ(t) = γ_0 + (γ_1 − γ_0)·γ̄(t), where γ̄ grows from 0 to 1.
 * γ is the logarithm of the signal-to-noise ratio, so SNR'(t) = γ'(t)·exp(γ(t)).
 */
import { uniformArray, type Key } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'

/** Parameters of γ: its ends, and a monotone network m(t) = w1·t + w3·sigmoid(w2·t) whose weights are softplus of these. */
export type LogSnrParams = { gamma0: tf.Tensor; gamma1: tf.Tensor; w1: tf.Tensor; w2: tf.Tensor; w3: tf.Tensor }

/** Ends of γ, learned or not: ᾱ(0) and ᾱ(1) are 0.0009 and 0.9991. */
export const logSnrEnds = { gamma0: -7, gamma1: 7 } as const

const hiddenUnits = 64

/** log(exp y − 1): what softplus takes to y > 0. */
const inverseSoftplus = (y: number) => Math.log(Math.expm1(y))

/**
 * First parameters: γ̄ starts close to the identity, with hidden units that bend at different times. With w2 below 2 they would be
 * as straight as w1·t.
 */
export function initLogSnr(key: Key): LogSnrParams {
  return {
    gamma0: tf.scalar(logSnrEnds.gamma0),
    gamma1: tf.scalar(logSnrEnds.gamma1),
    w1: tf.scalar(inverseSoftplus(1)),
    w2: tf.tensor1d(uniformArray(key, hiddenUnits, { low: 2, high: 10 }).map(inverseSoftplus)),
    w3: tf.fill([hiddenUnits], inverseSoftplus(0.25 / hiddenUnits)),
  }
}

/** γ(t) and γ'(t), of the shape of t. */
export type LogSnr = { gamma: tf.Tensor; slope: tf.Tensor }

/** @param t - any shape, in [0, 1]; no parameters: γ is linear between its ends */
export function logSnrAt(params: LogSnrParams | undefined, t: tf.Tensor): LogSnr {
  if (params === undefined) {
    const rise = logSnrEnds.gamma1 - logSnrEnds.gamma0
    return { gamma: tf.add(logSnrEnds.gamma0, tf.mul(rise, t)), slope: tf.fill(t.shape, rise) }
  }
  const { gamma0, gamma1 } = params
  const [w1, w2, w3] = [params.w1, params.w2, params.w3].map((w) => tf.softplus(w))
  // γ̄(t) = t + r(t), where r is how far the network is above its chord. With sigmoid(x) − sigmoid(0) = ½ tanh(x/2) and
  // tanh a − tanh b = tanh(a − b)(1 − tanh a · tanh b) no close numbers are subtracted: most of the loss comes from t near 1.
  const half = tf.div(w2, 2)
  const times = tf.reshape(t, [t.size, 1])
  const rest = tf.sub(1, times)
  const [last, hidden, apart] = [half, tf.mul(times, half), tf.mul(rest, half)].map((angle) => tf.tanh(angle))
  const difference = tf.mul(apart, tf.sub(1, tf.mul(last, hidden)))
  const share = tf.div(w3, tf.add(tf.mul(2, w1), tf.sum(tf.mul(w3, last))))
  const bend = tf.sum(tf.mul(share, tf.sub(tf.mul(rest, last), difference)), -1, true)
  const bendSlope = tf.sum(tf.mul(share, tf.sub(tf.mul(half, tf.sub(1, tf.square(hidden))), last)), -1, true)
  const gamma = tf.add(tf.mul(gamma0, tf.sub(rest, bend)), tf.mul(gamma1, tf.add(times, bend)))
  return { gamma: tf.reshape(gamma, t.shape), slope: tf.reshape(tf.mul(tf.sub(gamma1, gamma0), tf.add(1, bendSlope)), t.shape) }
}

/** ᾱ = sigmoid(γ), 1 − ᾱ = sigmoid(−γ) without cancellation, and SNR' = γ'·exp(γ). */
export function signalShares({ gamma, slope }: LogSnr): { alphaBar: tf.Tensor; oneMinus: tf.Tensor; snrSlope: tf.Tensor } {
  return { alphaBar: tf.sigmoid(gamma), oneMinus: tf.sigmoid(tf.neg(gamma)), snrSlope: tf.mul(slope, tf.exp(gamma)) }
}

/**
 * The chain's coefficients between neighbouring times. With δ = γ_i − γ_{i−1} the share 1 − α_{i−1} is
 * (1 − ᾱ_{i−1})(1 − e^{−δ}), so that a = √ᾱ_i (1 − e^{−δ}) and c = (1 − ᾱ_i)(1 − e^{−δ}): no difference of close numbers.
 *
 * @param gamma - [N + 1]
 * @returns vectors [N]
 */
export function chainCoefficients(gamma: tf.Tensor): { a: tf.Tensor; b: tf.Tensor; c: tf.Tensor } {
  const N = gamma.size - 1
  const [before, now] = [tf.slice(gamma, [0], [N]), tf.slice(gamma, [1], [N])]
  const share = tf.neg(tf.expm1(tf.sub(before, now)))
  const oneMinus = tf.sigmoid(tf.neg(now))
  return {
    a: tf.mul(tf.sqrt(tf.sigmoid(now)), share),
    b: tf.mul(tf.sqrt(tf.div(tf.sigmoid(before), tf.sigmoid(now))), tf.div(oneMinus, tf.sigmoid(tf.neg(before)))),
    c: tf.mul(oneMinus, share),
  }
}
