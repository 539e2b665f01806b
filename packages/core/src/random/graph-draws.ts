import * as tf from '@tensorflow/tfjs-core'
import type { Compiler } from '../compiler'

/**
 * Draws inside a graph, for keys that exist there only: the same float32 operations as transforms.ts takes on the host,
 * so the same bits. Slower than drawing on the host, which is what all other keys of a compiled function do.
 */
export interface GraphDraws {
  bits(n: number): tf.Tensor
  /** Multiples of 2⁻²⁴ in [0, 1). */
  uniform(n: number): tf.Tensor
  normal(n: number): tf.Tensor
  gumbel(n: number): tf.Tensor
}

/** 16-bit halves of random words, as int32 tensors. */
interface Halves {
  high: tf.Tensor
  low: tf.Tensor
}

const float = (x: tf.Tensor): tf.Tensor => tf.cast(x, 'float32')

/** (bits + ½)/2³² as one rounded sum of two exact terms. */
function unit({ high, low }: Halves): tf.Tensor {
  return tf.add(tf.mul(float(high), 2 ** -16), tf.mul(tf.add(float(low), 0.5), 2 ** -32))
}

function complement({ high, low }: Halves): Halves {
  const flip = (half: tf.Tensor): tf.Tensor => tf.sub(tf.scalar(0xffff, 'int32'), half)
  return { high: flip(high), low: flip(low) }
}

/** x = m·2^e with m in [√½, √2), by exact conditional scaling. */
function normalised(x: tf.Tensor): { mantissa: tf.Tensor; exponent: tf.Tensor } {
  let mantissa = x
  let exponent: tf.Tensor = tf.zerosLike(x)
  const bound = Math.fround(Math.SQRT1_2)
  for (const k of [32, 16, 8, 4, 2, 1]) {
    const isSmall = tf.less(mantissa, bound * 2 ** (1 - k))
    mantissa = tf.where(isSmall, tf.mul(mantissa, 2 ** k), mantissa)
    exponent = tf.where(isSmall, tf.sub(exponent, k), exponent)
  }
  for (const k of [4, 2, 1]) {
    const isLarge = tf.greaterEqual(mantissa, bound * 2 ** k)
    mantissa = tf.where(isLarge, tf.mul(mantissa, 2 ** -k), mantissa)
    exponent = tf.where(isLarge, tf.add(exponent, k), exponent)
  }
  return { mantissa, exponent }
}

function horner(x: tf.Tensor, coefficients: readonly number[]): tf.Tensor {
  return coefficients.slice(1).reduce<tf.Tensor>((value, c) => tf.add(tf.mul(value, x), c), tf.fill(x.shape, coefficients[0]))
}

/** Cephes logf, as in transforms.ts. */
const logCoefficients = [
  7.0376836292e-2, -1.151461031e-1, 1.167699874e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1,
  3.3333331174e-1,
]

/** log(1 + f) + exponent·log 2. */
function logFrom(f: tf.Tensor, exponent: tf.Tensor): tf.Tensor {
  const z = tf.mul(f, f)
  const cubic = tf.add(tf.mul(tf.mul(f, z), horner(f, logCoefficients)), tf.mul(exponent, -2.1219444e-4))
  return tf.add(tf.add(f, tf.sub(cubic, tf.mul(z, 0.5))), tf.mul(exponent, 0.693359375))
}

/** A standard exponential of full relative precision at both ends. */
function exponential(halves: Halves): tf.Tensor {
  const { mantissa, exponent } = normalised(unit(halves))
  const f = tf.where(tf.equal(exponent, 0), tf.neg(unit(complement(halves))), tf.sub(mantissa, 1))
  return tf.neg(logFrom(f, exponent))
}

/** Two normals of two words: radius from the first, angle from the second (Box–Muller). */
function normalPairs(first: Halves, second: Halves): tf.Tensor {
  const energy = exponential(first)
  const radius = tf.sqrt(tf.add(energy, energy))
  const { high, low } = second
  const int = (value: number): tf.Tensor => tf.scalar(value, 'int32')
  // The word shifted left by two, as a signed number: its halves are exact in float32, their sum is rounded once.
  const upper = tf.mod(tf.add(tf.mul(high, int(4)), tf.floorDiv(low, int(0x4000))), int(0x10000))
  const lower = tf.mod(tf.mul(low, int(4)), int(0x10000))
  const signed = tf.where(tf.greaterEqual(upper, int(0x8000)), tf.sub(upper, int(0x10000)), upper)
  const t = tf.mul(tf.add(tf.mul(float(signed), 0x10000), float(lower)), 2 ** -32)
  const tt = tf.mul(t, t)
  const sine = tf.mul(radius, tf.mul(horner(tt, [-0.00460165785625577, 0.07968003302812576, -0.6459634900093079, 1.5707963705062866]), t))
  const cosine = tf.mul(radius, horner(tt, [0.0009033629903569818, -0.020859936252236366, 0.2536691725254059, -1.2337005138397217, 1]))
  const quarter = tf.floorDiv(high, int(0x4000))
  const turned = (quarters: number): tf.Tensor => {
    const by = tf.mod(tf.add(quarter, int(quarters)), int(4))
    const choices = [cosine, tf.neg(sine), tf.neg(cosine), sine]
    return choices.reduce((value, choice, i) => tf.where(tf.equal(by, int(i)), choice, value))
  }
  return tf.stack([turned(0), turned(3)], 1)
}

/** Draws from the key whose words are a tensor of the graph, int32 [2]. */
export function graphDraws(compiler: Pick<Compiler, 'randomWords'>, key: tf.Tensor): GraphDraws {
  const words = (n: number): { bits: tf.Tensor } & Halves => {
    const blocks = Math.ceil(n / 2)
    return compiler.randomWords(
      key,
      tf.tensor1d(
        Int32Array.from({ length: blocks }, (_, i) => i),
        'int32',
      ),
      0,
    )
  }
  const first = (pairs: tf.Tensor, n: number): tf.Tensor => tf.slice(tf.reshape(pairs, [pairs.size]), [0], [n])
  const column = (x: tf.Tensor, i: number): tf.Tensor => tf.reshape(tf.slice(x, [0, i], [-1, 1]), [x.shape[0]])
  return {
    bits: (n) => first(words(n).bits, n),
    uniform(n) {
      const { high, low } = words(n)
      const upper = tf.mul(float(high), 256)
      return first(tf.mul(tf.add(upper, float(tf.floorDiv(low, tf.scalar(256, 'int32')))), 2 ** -24), n)
    },
    normal(n) {
      const { high, low } = words(n)
      const halves = (i: number): Halves => ({ high: column(high, i), low: column(low, i) })
      return first(normalPairs(halves(0), halves(1)), n)
    },
    gumbel(n) {
      const { mantissa, exponent } = normalised(exponential(words(n)))
      return first(tf.neg(logFrom(tf.sub(mantissa, 1), exponent)), n)
    },
  }
}
