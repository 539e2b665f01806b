/**
 * Draws into typed arrays, for host code. Each has a tensor twin in draws.ts with the same values.
 *
 * Value i depends on the key and i alone, so a shorter draw is a prefix of a longer one (but for `permutationArray`).
 */
import { OptionError, ShapeError } from '../errors'
import { exp, log } from '../numerics/elementary'
import { normalCdf, probit } from '../numerics/normal'
import { argsortUnsigned } from '../numerics/radix'
import { hostWords, type Key } from './key'
import {
  checkCount,
  checkFinite,
  checkNormal,
  checkProbability,
  type NormalOptions,
  type RandintOptions,
  type TruncatedNormalOptions,
  type UniformOptions,
} from './options'
import { fillBlocks } from './threefry'
import { gumbelFromBits, normalPairFromBits, uniformFromBits } from './transforms'

const { fround } = Math

/** Words 0 … n-1 of a key's stream, one more when n is odd. */
function words(key: Key, n: number, name: string): Int32Array<ArrayBuffer> {
  checkCount(name, n)
  const [key0, key1] = hostWords(key, name)
  const blocks = Math.ceil(n / 2)
  const out = new Int32Array(2 * blocks)
  fillBlocks(out, 0, blocks, key0, key1, 0, 0)
  return out
}

/** The first n values, on a buffer of their own when there are more. */
function first<T extends Float32Array | Int32Array>(values: T, n: number): T {
  return (values.length === n ? values : values.slice(0, n)) as T
}

/**
 * Random 32-bit words.
 *
 * @returns [n], each of the 2³² values equally likely
 */
export function bitsArray(key: Key, n: number): Uint32Array<ArrayBuffer> {
  return new Uint32Array(first(words(key, n, 'bits'), n).buffer)
}

/**
 * Uniform draws on [low, high): low + (high - low) u, with u a multiple of 2⁻²⁴.
 *
 * @returns [n] float32
 * @throws OptionError unless low < high, both finite
 */
export function uniformArray(key: Key, n: number, { low = 0, high = 1 }: UniformOptions = {}): Float32Array<ArrayBuffer> {
  checkFinite('uniform', 'low', low)
  checkFinite('uniform', 'high', high)
  if (!(fround(low) < fround(high)))
    throw new OptionError(`random.uniform: expected low < high in float32, got low ${low} and high ${high}`)
  const bits = words(key, n, 'uniform')
  const out = new Float32Array(bits.buffer)
  for (let i = 0; i < bits.length; i++) out[i] = uniformFromBits(bits[i])
  if (low !== 0 || high !== 1) {
    const start = fround(low)
    const width = fround(fround(high) - start)
    const last = floatBelow(high)
    // Rounding may reach `high`, which is excluded.
    for (let i = 0; i < out.length; i++) out[i] = Math.min(fround(start + fround(out[i] * width)), last)
  }
  return first(out, n)
}

/** The largest float32 below fround(x). */
export function floatBelow(x: number): number {
  const value = new Float32Array([x])
  const bits = new Int32Array(value.buffer)
  if (value[0] === 0) return -(2 ** -149)
  bits[0] += value[0] > 0 ? -1 : 1
  return value[0]
}

/**
 * Normal draws: μ + σ z, z by Box–Muller from polynomials, the same bits on every machine.
 *
 * @returns [n] float32
 * @throws OptionError unless stddev ≥ 0
 */
export function normalArray(key: Key, n: number, { mean = 0, stddev = 1 }: NormalOptions = {}): Float32Array<ArrayBuffer> {
  checkNormal('normal', mean, stddev)
  const bits = words(key, n, 'normal')
  const out = new Float32Array(bits.buffer)
  for (let i = 0; i < bits.length; i += 2) normalPairFromBits(out, i, bits[i], bits[i + 1])
  scaleAndShift(out, mean, stddev)
  return first(out, n)
}

function scaleAndShift(out: Float32Array, mean: number, stddev: number): void {
  if (mean === 0 && stddev === 1) return
  const shift = fround(mean)
  const scale = fround(stddev)
  for (let i = 0; i < out.length; i++) out[i] = shift + fround(scale * out[i])
}

/**
 * Normal draws conditioned on lying between two bounds: x = Φ⁻¹(Φ(low) + u (Φ(high) - Φ(low))) in double precision,
 * then μ + σ x.
 *
 * @returns [n] float32, each within [mean + low·stddev, mean + high·stddev] up to float32 rounding
 * @throws OptionError unless low < high and the interval's probability is above 0 in double precision
 */
export function truncatedNormalArray(
  key: Key,
  n: number,
  { low = -2, high = 2, mean = 0, stddev = 1 }: TruncatedNormalOptions = {},
): Float32Array<ArrayBuffer> {
  checkNormal('truncatedNormal', mean, stddev)
  if (!(low < high)) throw new OptionError(`random.truncatedNormal: expected low < high, got low ${low} and high ${high}`)
  // An interval above 0 is mirrored into the lower tail, where Φ keeps its relative precision.
  const sign = low > 0 ? -1 : 1
  const lower = normalCdf(sign > 0 ? low : -high)
  const mass = normalCdf(sign > 0 ? high : -low) - lower
  if (!(mass > 0))
    throw new OptionError(
      `random.truncatedNormal: the interval [${low}, ${high}] is too far from 0 to have a probability in double precision`,
    )
  const bits = words(key, n, 'truncatedNormal')
  const out = new Float32Array(bits.buffer)
  for (let i = 0; i < out.length; i++) {
    const u = ((bits[i] >>> 0) + 0.5) * 2 ** -32
    out[i] = Math.min(Math.max(sign * probit(lower + u * mass), low), high)
  }
  scaleAndShift(out, mean, stddev)
  return first(out, n)
}

/**
 * Random signs.
 *
 * @returns [n] float32, -1 and 1 equally likely
 */
export function rademacherArray(key: Key, n: number): Float32Array<ArrayBuffer> {
  const bits = words(key, n, 'rademacher')
  const out = new Float32Array(bits.buffer)
  for (let i = 0; i < out.length; i++) out[i] = bits[i] < 0 ? -1 : 1
  return first(out, n)
}

/**
 * Coin flips: 1 where a uniform draw is below p.
 *
 * @param p - probability of 1, resolved to 2⁻²⁴
 * @returns [n] float32, 0 or 1
 * @throws OptionError when p is not in [0, 1]
 */
export function bernoulliArray(key: Key, n: number, p: number): Float32Array<ArrayBuffer> {
  checkProbability('bernoulli', p)
  const bits = words(key, n, 'bernoulli')
  const out = new Float32Array(bits.buffer)
  const threshold = fround(p)
  for (let i = 0; i < out.length; i++) out[i] = uniformFromBits(bits[i]) < threshold ? 1 : 0
  return first(out, n)
}

/**
 * Standard Gumbel draws, -log(-log u), by polynomials, the same bits on every machine.
 *
 * @returns [n] float32
 */
export function gumbelArray(key: Key, n: number): Float32Array<ArrayBuffer> {
  const bits = words(key, n, 'gumbel')
  const out = new Float32Array(bits.buffer)
  for (let i = 0; i < out.length; i++) out[i] = gumbelFromBits(bits[i])
  return first(out, n)
}

/**
 * One class per row, with the probabilities softmax(logits), by the Gumbel-max trick.
 *
 * @param logits - [n · classes], row by row, rounded to float32; -Infinity for a class that never comes
 * @returns [n], class indices
 * @throws ShapeError when the length is not a multiple of `classes`
 */
export function categoricalArray(key: Key, logits: ArrayLike<number>, classes: number): Int32Array<ArrayBuffer> {
  if (!Number.isSafeInteger(classes) || classes < 1) {
    throw new OptionError(`random.categorical: expected a positive integer number of classes, got ${classes}`)
  }
  const rows = logits.length / classes
  if (!Number.isInteger(rows)) {
    throw new ShapeError(`random.categorical: expected rows of ${classes} logits, got ${logits.length} values, which is not a multiple`)
  }
  const noise = gumbelArray(key, logits.length)
  const out = new Int32Array(rows)
  for (let row = 0; row < rows; row++) {
    let best = -Infinity
    for (let i = row * classes; i < (row + 1) * classes; i++) {
      const score = fround(fround(logits[i]) + noise[i])
      if (score > best) {
        best = score
        out[row] = i - row * classes
      }
    }
  }
  return out
}

/** High 32 bits of the product of two unsigned 32-bit integers. */
function multiplyHigh(a: number, b: number): number {
  const aHigh = a >>> 16
  const aLow = a & 0xffff
  const bHigh = b >>> 16
  const bLow = b & 0xffff
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16)
  return aHigh * bHigh + (middle >>> 16) + ((aLow * bHigh + (middle & 0xffff)) >>> 16)
}

/**
 * Uniform integers on [low, high): low + ⌊(high - low) · B / 2⁶⁴⌋ from 64 random bits B each, so no value is
 * favoured by more than 2⁻³².
 *
 * @returns [n] int32
 * @throws OptionError unless low < high are int32 integers (high may be 2³¹)
 */
export function randintArray(key: Key, n: number, { low = 0, high }: RandintOptions): Int32Array<ArrayBuffer> {
  if (!Number.isSafeInteger(low) || !Number.isSafeInteger(high) || low >= high || low < -(2 ** 31) || high > 2 ** 31) {
    throw new OptionError(`random.randint: expected integers low < high within int32, got low ${low} and high ${high}`)
  }
  const span = high - low
  checkCount('randint', n)
  const bits = words(key, 2 * n, 'randint')
  const out = new Int32Array(n)
  for (let i = 0; i < n; i++) {
    const upper = bits[2 * i] >>> 0
    // A span of 2³² takes the upper word as it is.
    if (span === 2 ** 32) out[i] = upper + low
    else {
      const carry = (Math.imul(upper, span) >>> 0) + multiplyHigh(bits[2 * i + 1] >>> 0, span) >= 2 ** 32 ? 1 : 0
      out[i] = low + multiplyHigh(upper, span) + carry
    }
  }
  return out
}

/**
 * A random order of 0 … n-1: the stable ascending order of n random 64-bit integers.
 *
 * @returns [n] int32, every value once
 */
export function permutationArray(key: Key, n: number): Int32Array<ArrayBuffer> {
  checkCount('permutation', n)
  const bits = words(key, 2 * n, 'permutation')
  const upper = new Uint32Array(n)
  for (let i = 0; i < n; i++) upper[i] = bits[2 * i]
  const order = argsortUnsigned(upper)
  // Equal upper words are rare; insertion by the lower word puts them right.
  for (let i = 1; i < n; i++) {
    const item = order[i]
    let j = i
    while (j > 0 && upper[order[j - 1]] === upper[item] && bits[2 * order[j - 1] + 1] >>> 0 > bits[2 * item + 1] >>> 0) {
      order[j] = order[j - 1]
      j--
    }
    order[j] = item
  }
  return order
}

/** Second counter words of gamma: apart from other draws, and from each other by attempt. */
const gammaDomain = 0x20000000
const boostDomain = 0x3fffffff

const gammaWords = new Int32Array(2)
const gammaNormals = new Float32Array(2)

/** A double in (0, 1) from the block at a counter. */
function uniformAt(key0: number, key1: number, index: number, counter1: number): number {
  fillBlocks(gammaWords, 0, 1, key0, key1, index, counter1)
  return ((gammaWords[0] >>> 5) * 2 ** 26 + (gammaWords[1] >>> 6) + 0.5) * 2 ** -53
}

/** One draw of Gamma(alpha, 1); attempts are numbered in the counter, so it depends on (key, index) alone. */
function gammaAt(key0: number, key1: number, index: number, alpha: number): number {
  const boosted = alpha < 1
  const d = (boosted ? alpha + 1 : alpha) - 1 / 3
  const c = 1 / Math.sqrt(9 * d)
  for (let attempt = 0; ; attempt++) {
    fillBlocks(gammaWords, 0, 1, key0, key1, index, gammaDomain + 2 * attempt)
    normalPairFromBits(gammaNormals, 0, gammaWords[0], gammaWords[1])
    const x = gammaNormals[0]
    const root = 1 + c * x
    if (root <= 0) continue
    const v = root * root * root
    const u = uniformAt(key0, key1, index, gammaDomain + 2 * attempt + 1)
    const xx = x * x
    if (u < 1 - 0.0331 * xx * xx || log(u) < 0.5 * xx + d * (1 - v + log(v))) {
      // Gamma(α) = Gamma(α + 1) · U^(1/α) for α < 1.
      return boosted ? d * v * exp(log(uniformAt(key0, key1, index, boostDomain)) / alpha) : d * v
    }
  }
}

/**
 * Gamma draws of unit scale, by Marsaglia and Tsang's rejection in double precision.
 *
 * @param alpha - shape α > 0, one for all or [n]. Below about 0.01 draws may underflow to 0 in float32.
 * @returns [n] float32
 * @throws OptionError when an alpha is not positive and finite
 * @throws ShapeError when there are not n alphas
 * @see Marsaglia, Tsang, "A simple method for generating gamma variables", 2000
 */
export function gammaArray(key: Key, n: number, alpha: number | ArrayLike<number>): Float32Array<ArrayBuffer> {
  checkCount('gamma', n)
  const [key0, key1] = hostWords(key, 'gamma')
  if (typeof alpha !== 'number' && alpha.length !== n) {
    throw new ShapeError(`random.gamma: expected one alpha or ${n}, one per draw, got ${alpha.length}`)
  }
  const out = new Float32Array(n)
  for (let i = 0; i < n; i++) {
    const shape = typeof alpha === 'number' ? alpha : alpha[i]
    if (!(shape > 0 && shape < Infinity)) throw new OptionError(`random.gamma: alpha must be positive and finite, got ${shape}`)
    out[i] = gammaAt(key0, key1, i, shape)
  }
  return out
}
