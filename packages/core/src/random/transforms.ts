/**
 * From random bits to distributions, by arithmetic that gives the same bits on every machine.
 *
 * Every step is one float32-rounded + - * or √ (`Math.fround`), a conversion of an integer, or a selection, so a
 * graph of float32 tensor operations computes the same values: where the host takes the exponent of a float from
 * its bits, the graph may scale by powers of two under conditions, which is exact as well.
 */
const { fround } = Math

const floatView = new Float32Array(1)
const bitsView = new Int32Array(floatView.buffer)

/** Polynomial of log(1 + f) = f - f²/2 + f³·P(f) on [√½ - 1, √2 - 1] (Cephes logf). */
const p0 = fround(7.0376836292e-2)
const p1 = fround(-1.151461031e-1)
const p2 = fround(1.167699874e-1)
const p3 = fround(-1.2420140846e-1)
const p4 = fround(1.4249322787e-1)
const p5 = fround(-1.6668057665e-1)
const p6 = fround(2.0000714765e-1)
const p7 = fround(-2.4999993993e-1)
const p8 = fround(3.3333331174e-1)
const ln2High = 0.693359375
const ln2Low = fround(-2.1219444e-4)

/** log(1 + f) + exponent·log 2. */
function logFrom(f: number, exponent: number): number {
  const z = fround(f * f)
  let p = fround(fround(p0 * f) + p1)
  p = fround(fround(p * f) + p2)
  p = fround(fround(p * f) + p3)
  p = fround(fround(p * f) + p4)
  p = fround(fround(p * f) + p5)
  p = fround(fround(p * f) + p6)
  p = fround(fround(p * f) + p7)
  p = fround(fround(p * f) + p8)
  const cubic = fround(fround(fround(f * z) * p) + fround(exponent * ln2Low))
  const y = fround(f + fround(cubic - fround(0.5 * z)))
  return fround(y + fround(exponent * ln2High))
}

const sqrtHalfBits = 0x3f3504f3
const oneBits = 0x3f800000

/** Natural logarithm of a positive normal float32, to 1 float32 ulp or so. */
export function logFloat(x: number): number {
  floatView[0] = x
  const shifted = bitsView[0] + (oneBits - sqrtHalfBits)
  bitsView[0] = (shifted & 0x7fffff) + sqrtHalfBits
  return logFrom(fround(floatView[0] - 1), (shifted >> 23) - 127)
}

const scale = 2 ** -32

/**
 * A standard exponential from 32 bits: -log v with v = (bits + ½)/2³². It has full relative precision at both
 * ends, since near v = 1 the logarithm is taken from 1 - v = (~bits + ½)/2³².
 */
export function exponentialFromBits(bits: number): number {
  const v = fround(((bits >>> 0) + 0.5) * scale)
  floatView[0] = v
  const shifted = bitsView[0] + (oneBits - sqrtHalfBits)
  const exponent = (shifted >> 23) - 127
  bitsView[0] = (shifted & 0x7fffff) + sqrtHalfBits
  const f = exponent === 0 ? fround((~bits >>> 0) * -scale - 0.5 * scale) : fround(floatView[0] - 1)
  return -logFrom(f, exponent)
}

/** Uniform on [0, 1): a multiple of 2^-24. */
export function uniformFromBits(bits: number): number {
  return (bits >>> 8) * 2 ** -24
}

/** A standard Gumbel: -log of an exponential. */
export function gumbelFromBits(bits: number): number {
  return -logFloat(exponentialFromBits(bits))
}

/** sin(πt/2) and cos(πt/2) on [-½, ½] as polynomials in t², to 3·10⁻⁹ (minimax fits). */
const s0 = fround(1.5707963705062866)
const s1 = fround(-0.6459634900093079)
const s2 = fround(0.07968003302812576)
const s3 = fround(-0.00460165785625577)
const c1 = fround(-1.2337005138397217)
const c2 = fround(0.2536691725254059)
const c3 = fround(-0.020859936252236366)
const c4 = fround(0.0009033629903569818)

/**
 * Two standard normals from two words (Box–Muller): radius √(2E) from the first, angle from the second.
 * The top two bits of the angle pick the quarter turn, the others the place in it.
 */
export function normalPairFromBits(out: Float32Array, offset: number, word0: number, word1: number): void {
  const energy = exponentialFromBits(word0)
  const radius = fround(Math.sqrt(fround(energy + energy)))
  const t = fround((word1 << 2) * scale)
  const tt = fround(t * t)
  let s = fround(fround(s3 * tt) + s2)
  s = fround(fround(s * tt) + s1)
  s = fround(fround(s * tt) + s0)
  const sine = fround(radius * fround(s * t))
  let c = fround(fround(c4 * tt) + c3)
  c = fround(fround(c * tt) + c2)
  c = fround(fround(c * tt) + c1)
  const cosine = fround(radius * fround(fround(c * tt) + 1))
  const quarter = word1 >>> 30
  out[offset] = quarter === 0 ? cosine : quarter === 1 ? -sine : quarter === 2 ? -cosine : sine
  out[offset + 1] = quarter === 0 ? sine : quarter === 1 ? cosine : quarter === 2 ? -sine : -cosine
}
