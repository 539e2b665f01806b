import { polynomial } from './normal'

/** log Γ(2 + z) = (1 - γ) z + Σ_{k≥2} (-1)^k (ζ(k) - 1) z^k / k, for |z| ≤ ½; coefficients of z, z², … */
const logGammaAtTwo = [
  0, 0.42278433509846713939, 0.32246703342411321824, -0.067352301053198095133, 0.020580808427784547879, -0.0073855510286739852663,
  0.0028905103307415232858, -0.0011927539117032609771, 0.00050966952474304242234, -0.00022315475845357937976, 0.000099457512781808533715,
  -0.0000449262367381331417, 0.000020507212775670691553, -9.439488275268395904e-6, 4.3748667899074878042e-6, -2.0392157538013662368e-6,
  9.5514121304074198329e-7, -4.4924691987645660433e-7, 2.1207184805554665869e-7, -1.0043224823968099609e-7, 4.7698101693639805658e-8,
  -2.271109460894316491e-8, 1.0838659214896954091e-8, -5.1834750419700466551e-9, 2.4836745438024783172e-9, -1.1921401405860912074e-9,
]

/** Stirling's series of log Γ in 1/x², B_2k / (2k (2k-1)). */
const stirling = [
  1 / 12,
  -1 / 360,
  0.00079365079365079365079,
  -0.0005952380952380952381,
  0.00084175084175084175084,
  -0.0019175269175269175269,
  0.0064102564102564102564,
  -0.02955065359477124183,
]
const halfLog2Pi = 0.91893853320467274178

/**
 * Logarithm of |Γ(x)|.
 *
 * Relative error about 1e-15 for x > 0; below 0 the error is that of an absolute 1e-15 near the function's zeros.
 *
 * @param x - any real number; Infinity at 0 and the negative integers
 */
export function lgamma(x: number): number {
  if (!(x > 0)) {
    if (Number.isNaN(x)) return x
    if (x === Math.floor(x)) return Infinity
    // Reflection: Γ(x) Γ(1-x) = π / sin πx, with the sine taken from the distance to the nearest integer.
    return Math.log(Math.PI / Math.abs(Math.sin(Math.PI * (x - Math.round(x))))) - lgamma(1 - x)
  }
  if (x < 0.5) return lgammaAtTwo(x) - Math.log(x) - Math.log1p(x)
  if (x < 1.5) return lgammaAtTwo(x - 1) - Math.log1p(x - 1)
  if (x < 2.5) return lgammaAtTwo(x - 2)
  if (x < 10) {
    let y = x
    let product = 1
    while (y >= 2.5) product *= --y
    return lgammaAtTwo(y - 2) + Math.log(product)
  }
  if (x > 1e17) return x === Infinity ? x : x * (Math.log(x) - 1)
  return (x - 0.5) * Math.log(x) - x + (halfLog2Pi + polynomial(stirling, 1 / (x * x)) / x)
}

/** log Γ(2 + z) for |z| ≤ ½. */
function lgammaAtTwo(z: number): number {
  return polynomial(logGammaAtTwo, z)
}

/** The positive zero of ψ as a sum of two doubles, and ψ's Taylor coefficients there. */
const root = 1.4616321449683622
const rootRest = 9.549995429965697e-17
const digammaAtRoot = [
  0, 0.96767224544762117043, -0.44276316898359210609, 0.25849976095565101062, -0.1639427054424065275, 0.10782405069126236576,
  -0.072199561256454710926, 0.048804288164143107225, -0.033161126474847359292, 0.02259764823221810466, -0.015424765904948959139,
  0.010538791616612175388, -0.007204534386356868241, 0.0049267813957298534464, -0.0033698016554393280828, 0.0023051263267349278369,
  -0.0015769367714301972593, 0.0010788252019162965807, -0.00073807093899600512957, 0.00050495326583460203518,
]

/** ψ(x) ~ log x - 1/(2x) - Σ B_2k / (2k x^2k). */
const digammaSeries = [
  1 / 12,
  -1 / 120,
  1 / 252,
  -1 / 240,
  0.0075757575757575757576,
  -0.021092796092796092796,
  1 / 12,
  -0.44325980392156862745,
]

/** cot πf for |f| ≤ ½, precise at its zeros ±½ too. */
function cotangent(f: number): number {
  return Math.abs(f) < 0.25 ? 1 / Math.tan(Math.PI * f) : Math.sign(f) * Math.tan(Math.PI * (0.5 - Math.abs(f)))
}

/**
 * Digamma ψ(x), the derivative of log Γ.
 *
 * Relative error about 1e-15 for x > 0, at its zero 1.4616… too.
 *
 * @param x - any real number; NaN at 0 and the negative integers
 */
export function digamma(x: number): number {
  if (!(x > 0)) {
    if (Number.isNaN(x) || x === Math.floor(x)) return NaN
    return digamma(1 - x) - Math.PI * cotangent(x - Math.round(x))
  }
  if (Math.abs(x - root) < 0.25) return polynomial(digammaAtRoot, x - root - rootRest)
  let shifted = x
  let sum = 0
  while (shifted < 10) {
    sum += 1 / shifted
    shifted++
  }
  const s = 1 / (shifted * shifted)
  return Math.log(shifted) - 0.5 / shifted - s * polynomial(digammaSeries, s) - sum
}
