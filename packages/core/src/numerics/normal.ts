import { exp, log } from './elementary'

/** Value at x of the polynomial with coefficients from the lowest power. */
export function polynomial(coefficients: readonly number[], x: number): number {
  let value = 0
  for (let i = coefficients.length - 1; i >= 0; i--) value = value * x + coefficients[i]
  return value
}

/** Rational approximations of fdlibm's s_erf.c (Sun Microsystems, 1993), by interval of |x|. */
const erfAtOne = 8.45062911510467529297e-1
const smallNumerator = [
  1.28379167095512558561e-1, -3.2504210724700149937e-1, -2.84817495755985104766e-2, -5.77027029648944159157e-3, -2.37630166566501626084e-5,
]
const smallDenominator = [
  1, 3.97917223959155352819e-1, 6.50222499887672944485e-2, 5.08130628187576562776e-3, 1.32494738004321644526e-4, -3.9602282787753681232e-6,
]
const middleNumerator = [
  -2.36211856075265944077e-3, 4.14856118683748331666e-1, -3.72207876035701323847e-1, 3.18346619901161753674e-1, -1.10894694282396677476e-1,
  3.54783043256182359371e-2, -2.166375594868790843e-3,
]
const middleDenominator = [
  1, 1.06420880400844228286e-1, 5.40397917702171048937e-1, 7.18286544141962662868e-2, 1.26171219808761642112e-1, 1.36370839120290507362e-2,
  1.1984499846799107417e-2,
]
const largeNumerator = [
  -9.86494403484714822705e-3, -6.93858572707181764372e-1, -1.05586262253232909814e1, -6.23753324503260060396e1, -1.62396669462573470355e2,
  -1.84605092906711035994e2, -8.12874355063065934246e1, -9.81432934416914548592,
]
const largeDenominator = [
  1, 1.96512716674392571292e1, 1.376577541435190426e2, 4.34565877475229228821e2, 6.45387271733267880336e2, 4.29008140027567833386e2,
  1.08635005541779435134e2, 6.57024977031928170135, -6.04244152148580987438e-2,
]
const tailNumerator = [
  -9.86494292470009928597e-3, -7.99283237680523006574e-1, -1.77579549177547519889e1, -1.60636384855821916062e2, -6.37566443368389627722e2,
  -1.02509513161107724954e3, -4.83519191608651397019e2,
]
const tailDenominator = [
  1, 3.03380607434824582924e1, 3.25792512996573918826e2, 1.53672958608443695994e3, 3.19985821950859553908e3, 2.55305040643316442583e3,
  4.74528541206955367215e2, -2.24409524465858183362e1,
]

/** erfc(x) for x ≥ 1.25. */
function erfcTail(x: number): number {
  if (x >= 28) return 0
  const s = 1 / (x * x)
  const ratio =
    x < 1 / 0.35
      ? polynomial(largeNumerator, s) / polynomial(largeDenominator, s)
      : polynomial(tailNumerator, s) / polynomial(tailDenominator, s)
  // exp(-x²) with x² split into an exact square of the upper bits and a small rest.
  const z = Math.fround(x)
  return (exp(-z * z - 0.5625) * exp((z - x) * (z + x) + ratio)) / x
}

/**
 * Error function, 2/√π ∫₀ˣ exp(-t²) dt, to 1 ulp; the same bits on every machine.
 *
 * @param x - any real number
 */
export function erf(x: number): number {
  const a = Math.abs(x)
  if (a < 0.84375) {
    const z = x * x
    return x + x * (polynomial(smallNumerator, z) / polynomial(smallDenominator, z))
  }
  if (Number.isNaN(x)) return x
  const sign = x < 0 ? -1 : 1
  if (a < 1.25) return sign * (erfAtOne + polynomial(middleNumerator, a - 1) / polynomial(middleDenominator, a - 1))
  return sign * (a >= 6 ? 1 : 1 - erfcTail(a))
}

/**
 * Complementary error function 1 - erf(x), with full relative precision in the upper tail; the same bits on every machine.
 *
 * @param x - any real number; the result underflows above 26.5
 */
export function erfc(x: number): number {
  const a = Math.abs(x)
  if (a < 0.84375) {
    const z = x * x
    const y = polynomial(smallNumerator, z) / polynomial(smallDenominator, z)
    return x < 0.25 ? 1 - (x + x * y) : 0.5 - (x - 0.5 + x * y)
  }
  if (Number.isNaN(x)) return x
  if (a < 1.25) {
    const y = polynomial(middleNumerator, a - 1) / polynomial(middleDenominator, a - 1)
    return x > 0 ? 1 - erfAtOne - y : 1 + (erfAtOne + y)
  }
  return x > 0 ? erfcTail(x) : 2 - (x <= -6 ? 0 : erfcTail(a))
}

const sqrtHalf = Math.SQRT1_2
const sqrtHalfRest = -4.8336466567264567e-17

/** a·b - fl(a·b), exactly (Dekker). */
function productError(a: number, b: number, product: number): number {
  const splitter = 2 ** 27 + 1
  const aHigh = a * splitter - (a * splitter - a)
  const bHigh = b * splitter - (b * splitter - b)
  const aLow = a - aHigh
  const bLow = b - bHigh
  return aLow * bLow - (product - aHigh * bHigh - aLow * bHigh - aHigh * bLow)
}

/**
 * Distribution function Φ of the standard normal, with full relative precision in the lower tail;
 * the same bits on every machine.
 *
 * @param x - any real number; the result underflows below -38.5
 * @returns Φ(x) = ½ erfc(-x/√2)
 */
export function normalCdf(x: number): number {
  const z = -x * sqrtHalf
  if (!(Math.abs(z) > 1 && Math.abs(z) < 28)) return 0.5 * erfc(z)
  // In the tail an error of half an ulp in z is z² ulp in erfc(z): add the first-order term of what z lost.
  const lost = productError(-x, sqrtHalf, z) - x * sqrtHalfRest
  return 0.5 * (erfc(z) - 1.1283791670955126 * exp(-z * z) * lost)
}

/** Rational approximations of Wichura, "Algorithm AS 241" (1988), PPND16. */
const centreNumerator = [
  3.387132872796366608, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4, 4.5921953931549871457e4,
  6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3,
]
const centreDenominator = [
  1, 4.2313330701600911252e1, 6.871870074920579083e2, 5.3941960214247511077e3, 2.1213794301586595867e4, 3.930789580009271061e4,
  2.8729085735721942674e4, 5.226495278852854561e3,
]
const nearNumerator = [
  1.42343711074968357734, 4.6303378461565452959, 5.7694972214606914055, 3.64784832476320460504, 1.27045825245236838258,
  2.4178072517745061177e-1, 2.27238449892691845833e-2, 7.7454501427834140764e-4,
]
const nearDenominator = [
  1, 2.05319162663775882187, 1.6763848301838038494, 6.8976733498510000455e-1, 1.4810397642748007459e-1, 1.51986665636164571966e-2,
  5.475938084995344946e-4, 1.05075007164441684324e-9,
]
const farNumerator = [
  6.6579046435011037772, 5.4637849111641143699, 1.7848265399172913358, 2.9656057182850489123e-1, 2.6532189526576123093e-2,
  1.2426609473880784386e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7,
]
const farDenominator = [
  1, 5.9983220655588793769e-1, 1.3692988092273580531e-1, 1.48753612908506148525e-2, 7.868691311456132591e-4, 1.8463183175100546818e-5,
  1.4215117583164458887e-7, 2.04426310338993978564e-15,
]

/**
 * Inverse of {@link normalCdf}: the quantile function of the standard normal; the same bits on every machine.
 *
 * @param p - a probability
 * @returns x with Φ(x) = p; ∓Infinity at 0 and 1, NaN outside [0, 1]
 * @see Wichura, "Algorithm AS 241: The percentage points of the normal distribution", 1988
 */
export function probit(p: number): number {
  const q = p - 0.5
  if (Math.abs(q) <= 0.425) {
    const r = 0.180625 - q * q
    return (q * polynomial(centreNumerator, r)) / polynomial(centreDenominator, r)
  }
  const tail = q < 0 ? p : 1 - p
  if (!(tail > 0)) return tail === 0 ? (q < 0 ? -Infinity : Infinity) : NaN
  const r = Math.sqrt(-log(tail))
  const x =
    r <= 5
      ? polynomial(nearNumerator, r - 1.6) / polynomial(nearDenominator, r - 1.6)
      : polynomial(farNumerator, r - 5) / polynomial(farDenominator, r - 5)
  return q < 0 ? -x : x
}
