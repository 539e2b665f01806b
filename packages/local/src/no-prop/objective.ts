/** The probabilistic model of NoProp as tensor operations: what training and inference of all variants are made of. */
import { softmaxCrossEntropy } from '@bpf/core'
import * as tf from '@tensorflow/tfjs-core'

/** A scalar, or a tensor that broadcasts against z. */
type Factor = number | tf.Tensor

/** Parameters of the readout g. */
export type Readout = { kernel: tf.Tensor; bias: tf.Tensor }

/**
 * A noisy embedding z = √ᾱ u + √(1 − ᾱ) ε, the forward diffusion q(z_t | y).
 *
 * @param u - clean embeddings [n, d]
 * @param noise - ε ~ N(0, I) [..., n, d]
 * @param alphaBar - ᾱ in (0, 1): a number, or a tensor that broadcasts against the noise
 * @param oneMinus - 1 − ᾱ where it is known more precisely than by subtraction
 */
export function noisyEmbedding(u: tf.Tensor, noise: tf.Tensor, alphaBar: Factor, oneMinus: Factor = tf.sub(1, alphaBar)): tf.Tensor {
  return tf.add(tf.mul(tf.sqrt(alphaBar), u), tf.mul(tf.sqrt(oneMinus), noise))
}

/** û = softmax(logits)·W, a convex combination of class embeddings W [C, d]. @returns [..., n, d] */
export function expectedEmbedding(logits: tf.Tensor, W: tf.Tensor): tf.Tensor {
  return tf.matMul(tf.softmax(logits), W)
}

/** Mean over the examples of ‖prediction − target‖², the sum over the embedding axis. @returns [...] for [..., n, d] */
export function meanSquaredDistance(prediction: tf.Tensor, target: tf.Tensor): tf.Tensor {
  return tf.mean(tf.sum(tf.square(tf.sub(prediction, target)), -1), -1)
}

/**
 * Mean over the examples of KL(q(z_0 | y) ‖ N(0, I)) = ½[ᾱ_0‖u_y‖² − d·ᾱ_0 − d·ln(1 − ᾱ_0)].
 *
 * @param u - [n, d]
 * @param logOneMinus - ln(1 − ᾱ_0)
 * @returns scalar
 */
export function klToPrior(u: tf.Tensor, alphaBar: Factor, logOneMinus: Factor): tf.Tensor {
  const d = u.shape[u.rank - 1] ?? 1
  const squaredNorm = tf.mean(tf.sum(tf.square(u), -1))
  return tf.mul(0.5, tf.sub(tf.mul(alphaBar, tf.sub(squaredNorm, d)), tf.mul(d, logOneMinus)))
}

/** Logits of the affine readout g: z·kernel [d, C] + bias. */
export function affineLogits(z: tf.Tensor, { kernel, bias }: Readout): tf.Tensor {
  return tf.add(tf.matMul(z, kernel), bias)
}

/** Logits of the radial readout, −‖z − u_y‖²/(2σ²) for every class y. @returns [n, C] for z [n, d] and W [C, d] */
export function radialLogits(z: tf.Tensor, W: tf.Tensor, sigma: number): tf.Tensor {
  const products = tf.matMul(z, W, false, true)
  const squares = tf.sum(tf.square(W), -1)
  // ‖z‖² is the same for all classes, so softmax doesn't need it.
  return tf.div(tf.sub(products, tf.mul(0.5, squares)), sigma * sigma)
}

/** Mean cross-entropy of labels y [n] under logits [n, C]. */
export function meanCrossEntropy(y: tf.Tensor, logits: tf.Tensor): tf.Tensor {
  return tf.mean(softmaxCrossEntropy(y, logits))
}

/**
 * One step of the chain, z_t = a_t û + b_t z_{t−1} + √c_t ε.
 *
 * @param noise - ε; without it the step takes the mean
 */
export function denoisingStep(z: tf.Tensor, uHat: tf.Tensor, a: Factor, b: Factor, c: Factor, noise?: tf.Tensor): tf.Tensor {
  const mean = tf.add(tf.mul(a, uHat), tf.mul(b, z))
  return noise === undefined ? mean : tf.add(mean, tf.mul(tf.sqrt(c), noise))
}

/** Velocity of the probability flow of NoProp-CT, dz/dt = ½ γ'(t)[√ᾱ û − ᾱ z]. */
export function odeVelocity(z: tf.Tensor, uHat: tf.Tensor, alphaBar: Factor, slope: Factor): tf.Tensor {
  return tf.mul(tf.mul(slope, 0.5), tf.sub(tf.mul(tf.sqrt(alphaBar), uHat), tf.mul(alphaBar, z)))
}

/** Drift of NoProp-CT's stochastic equation, γ'(t)[√ᾱ û − ½(1 + ᾱ) z]; its diffusion is √(γ'(t)(1 − ᾱ)). */
export function sdeDrift(z: tf.Tensor, uHat: tf.Tensor, alphaBar: Factor, slope: Factor): tf.Tensor {
  return tf.mul(slope, tf.sub(tf.mul(tf.sqrt(alphaBar), uHat), tf.mul(tf.mul(0.5, tf.add(1, alphaBar)), z)))
}

/** Point of NoProp-FM's path at time t, z_t = t·u + (1 − t)·z_0. @param t - [n, 1] in [0, 1] */
export function flowPoint(u: tf.Tensor, z0: tf.Tensor, t: Factor): tf.Tensor {
  return tf.add(tf.mul(t, u), tf.mul(tf.sub(1, t), z0))
}

/** Where a flow at z_t with velocity v arrives at t = 1: z_t + (1 − t)·v. */
export function flowEndpoint(zt: tf.Tensor, velocity: tf.Tensor, t: Factor): tf.Tensor {
  return tf.add(zt, tf.mul(tf.sub(1, t), velocity))
}
