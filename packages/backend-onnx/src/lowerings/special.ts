import { binary, cast, scalar, unary, where } from '../emit'
import type { Graph, Value } from '../graph'
import { defineLowerings, type Lowering } from '../lowering'

/**
 * Functions of one float, in single precision by ONNX's operators (all within 2.3e-7 of the true value, measured) and in
 * double, which ONNX Runtime lacks for most of them, by formulas good to about 1e-15.
 */

export function isFloat(x: Value): boolean {
  return x.type === 'float32' || x.type === 'float64'
}

/** Integers and booleans become the graph's float. */
export function toFloat(g: Graph, x: Value): Value {
  return isFloat(x) ? x : cast(g, x, g.float)
}

/** A number of the type of a value. */
export function constantLike(g: Graph, x: Value, value: number): Value {
  return scalar(g, value, x.type)
}

/** A float cut towards zero, NaN and infinities as 0, as JavaScript's Int32Array stores it; so here is what 32 bits don't hold. */
export function toInt32(g: Graph, x: Value): Value {
  if (!isFloat(x)) return cast(g, x, 'int32')
  const representable = binary(g, 'LessOrEqual', unary(g, 'Abs', x), constantLike(g, x, 2 ** 31))
  return cast(g, where(g, representable, x, constantLike(g, x, 0)), 'int32')
}

/** Turns a float result into the dtype of the input, as the kernels of TensorFlow.js do. */
export function toDtypeOf(g: Graph, x: Value, result: Value): Value {
  if (x.type === 'int32') return toInt32(g, result)
  return x.type === 'bool' ? cast(g, toInt32(g, result), 'bool') : result
}

type Function1 = (g: Graph, x: Value) => Value

/** A kernel of one input whose result has the input's dtype; integers are computed in double, where they are exact. */
export function unaryKernel(apply: Function1): Lowering {
  return ({ g, input }) => {
    const x = input('x')
    if (isFloat(x)) return apply(g, x)
    return toDtypeOf(g, x, apply(g, cast(g, x, 'float64')))
  }
}

/** ONNX's operator in single precision, a formula in double. */
function native(op: string, inDouble: Function1): Function1 {
  return (g, x) => (x.type === 'float64' ? inDouble(g, x) : unary(g, op, x))
}

const add = (g: Graph, a: Value, b: Value): Value => binary(g, 'Add', a, b)
const sub = (g: Graph, a: Value, b: Value): Value => binary(g, 'Sub', a, b)
const mul = (g: Graph, a: Value, b: Value): Value => binary(g, 'Mul', a, b)
const div = (g: Graph, a: Value, b: Value): Value => binary(g, 'Div', a, b)
const times = (g: Graph, x: Value, factor: number): Value => mul(g, x, constantLike(g, x, factor))
const plus = (g: Graph, x: Value, summand: number): Value => add(g, x, constantLike(g, x, summand))

/** Σ coefficients[i]·x^(n−i), highest power first. */
function polynomial(g: Graph, x: Value, coefficients: readonly number[]): Value {
  return coefficients.slice(1).reduce((sum, c) => plus(g, mul(g, sum, x), c), constantLike(g, x, coefficients[0]))
}

/** An odd function from its values at |x|; keeps −0. */
function odd(g: Graph, x: Value, apply: Function1): Value {
  const y = apply(g, unary(g, 'Abs', x))
  return where(g, binary(g, 'Less', x, constantLike(g, x, 0)), unary(g, 'Neg', y), where(g, isZero(g, x), x, y))
}

function isZero(g: Graph, x: Value): Value {
  return binary(g, 'Equal', x, constantLike(g, x, 0))
}

function isInfinite(g: Graph, x: Value): Value {
  return g.op('IsInf', [x], x.shape, 'bool')
}

/** log(1 + x), exact near 0 (Kahan): the rounding of 1 + x is divided out. */
export function log1p(g: Graph, x: Value): Value {
  const u = plus(g, x, 1)
  const exact = binary(g, 'Equal', u, constantLike(g, x, 1))
  const step = plus(g, u, -1)
  const y = mul(g, unary(g, 'Log', u), div(g, x, where(g, exact, constantLike(g, x, 1), step)))
  return where(g, exact, x, where(g, binary(g, 'Equal', u, constantLike(g, x, Infinity)), u, y))
}

/** exp(x) − 1, exact near 0 (Kahan). */
export function expm1(g: Graph, x: Value): Value {
  const one = constantLike(g, x, 1)
  const u = unary(g, 'Exp', x)
  const step = plus(g, u, -1)
  const near = binary(g, 'Equal', u, one)
  // Away from 0 the plain difference is exact; there the quotient would be 0/−∞ or ∞/∞.
  const far = binary(g, 'Greater', unary(g, 'Abs', x), one)
  const logarithm = where(g, g.op('Or', [near, far], x.shape, 'bool'), one, unary(g, 'Log', u))
  const y = div(g, mul(g, step, x), logarithm)
  return where(g, near, x, where(g, far, step, y))
}

// Cephes' rational approximation of (atan(x) − x)/x³ for |x| ≤ 0.66.
const atanNumerator = [
  -8.750608600031904122785e-1, -1.615753718733365076637e1, -7.50085579231470466734e1, -1.22886668449013617341e2, -6.485021904942025371773e1,
]
const atanDenominator = [
  1, 2.485846490142306297962e1, 1.650270098316988542046e2, 4.328810604912902668951e2, 4.853903996359136964868e2, 1.945506571482613964425e2,
]
const tan3Pi8 = 2.4142135623730950488

function atanDouble(g: Graph, x: Value): Value {
  return odd(g, x, (_, a) => {
    const zero = constantLike(g, a, 0)
    const steep = binary(g, 'Greater', a, constantLike(g, a, tan3Pi8))
    const medium = binary(g, 'Greater', a, constantLike(g, a, 0.66))
    const inverse = unary(g, 'Neg', unary(g, 'Reciprocal', a))
    const turned = div(g, plus(g, a, -1), plus(g, a, 1))
    const r = where(g, steep, inverse, where(g, medium, turned, a))
    const start = where(g, steep, constantLike(g, a, Math.PI / 2), where(g, medium, constantLike(g, a, Math.PI / 4), zero))
    const z = mul(g, r, r)
    const correction = mul(g, mul(g, r, z), div(g, polynomial(g, z, atanNumerator), polynomial(g, z, atanDenominator)))
    return add(g, start, add(g, r, correction))
  })
}

export const atan = native('Atan', atanDouble)

/** 2·atan(x / (1 + √(1 − x²))). */
const asin = native('Asin', (g, x) => {
  const one = constantLike(g, x, 1)
  const cosine = unary(g, 'Sqrt', mul(g, sub(g, one, x), add(g, one, x)))
  return times(g, atan(g, div(g, x, plus(g, cosine, 1))), 2)
})

/** 2·atan(√((1 − x) / (1 + x))). */
const acos = native('Acos', (g, x) => {
  const one = constantLike(g, x, 1)
  return times(g, atan(g, unary(g, 'Sqrt', div(g, sub(g, one, x), add(g, one, x)))), 2)
})

/** In double always: near its poles single precision would miss the last digits. */
const tan: Function1 = (g, x) => {
  const double = cast(g, x, 'float64')
  return cast(g, div(g, unary(g, 'Sin', double), unary(g, 'Cos', double)), x.type)
}

const sinh = native('Sinh', (g, x) =>
  odd(g, x, (_, a) => {
    const e = expm1(g, a)
    // e/(e + 1) of an infinite e is 1.
    const bounded = binary(g, 'Min', e, constantLike(g, e, 1e300))
    return times(g, add(g, e, div(g, bounded, plus(g, bounded, 1))), 0.5)
  }),
)

const cosh = native('Cosh', (g, x) => {
  const e = unary(g, 'Exp', unary(g, 'Abs', x))
  return times(g, add(g, e, unary(g, 'Reciprocal', e)), 0.5)
})

/** From here on √(x² ± 1) is x in double precision, and x² would overflow. */
const large = 1e9

const asinh = native('Asinh', (g, x) =>
  odd(g, x, (_, a) => {
    const bounded = binary(g, 'Min', a, constantLike(g, a, large))
    const square = mul(g, bounded, bounded)
    const y = log1p(g, add(g, bounded, div(g, square, plus(g, unary(g, 'Sqrt', plus(g, square, 1)), 1))))
    return where(g, binary(g, 'Greater', a, constantLike(g, a, large)), plus(g, unary(g, 'Log', a), Math.LN2), y)
  }),
)

const acosh = native('Acosh', (g, x) => {
  const t = plus(g, binary(g, 'Min', x, constantLike(g, x, large)), -1)
  const y = log1p(g, add(g, t, unary(g, 'Sqrt', mul(g, t, plus(g, t, 2)))))
  return where(g, binary(g, 'Greater', x, constantLike(g, x, large)), plus(g, unary(g, 'Log', x), Math.LN2), y)
})

/** ½·log(1 + 2x/(1 − x)). */
const atanh = native('Atanh', (g, x) =>
  odd(g, x, (_, a) => times(g, log1p(g, div(g, times(g, a, 2), sub(g, constantLike(g, a, 1), a))), 0.5)),
)

// Chebyshev fits, made with 40 digits: erf(√z)/√z on [0, 1] to 7e-18, and log(erfc(x)/t) + x² for t = 1/(1 + x/2) in
// [1/4, 2/3] (x from 1 to 6), the interval scaled to [−1, 1], to 2e-16.
const erfNear = [
  -7.795898827002142e-10, 1.3720064546777686e-8, -1.6208483801871705e-7, 1.6447424703317362e-6, -1.492473690741966e-5,
  0.00012055294904839707, -0.0008548325975389692, 0.0052239776071164225, -0.02686617064323777, 0.11283791670945006, -0.37612638903183543,
  1.1283791670955126,
]
const erfcFar = [
  -2.504118688733989e-11, -7.501261247211795e-11, 7.281427204823566e-10, 4.640752340939357e-10, -1.4607058906051882e-8,
  1.4562811374083788e-8, 2.5643778524675996e-7, -6.02010455930181e-7, -4.527152301580261e-6, 1.6041270952799295e-5, 9.560006379312152e-5,
  -0.00040147120474120644, -0.0031116996674246666, 0.01017469538028373, 0.27658358936131217, -0.7274922853522044,
]
const [tMin, tMax] = [1 / 4, 2 / 3]

export const erf = native('Erf', (g, x) =>
  odd(g, x, (_, a) => {
    const near = binary(g, 'Less', a, constantLike(g, a, 1))
    const small = binary(g, 'Min', a, constantLike(g, a, 1))
    // erfc(6) is 2e-17: beyond, erf is 1.
    const b = g.op('Clip', [a, constantLike(g, a, 1), constantLike(g, a, 6)], a.shape, a.type)
    const t = unary(g, 'Reciprocal', plus(g, times(g, b, 0.5), 1))
    const s = times(g, plus(g, t, -(tMin + tMax) / 2), 2 / (tMax - tMin))
    const complement = mul(g, t, unary(g, 'Exp', sub(g, polynomial(g, s, erfcFar), mul(g, b, b))))
    const far = sub(g, constantLike(g, a, 1), complement)
    return where(g, near, mul(g, small, polynomial(g, mul(g, small, small), erfNear)), far)
  }),
)

/** log(1 + exp(x)) without overflow. */
export const softplus = native('Softplus', (g, x) => {
  const tail = log1p(g, unary(g, 'Exp', unary(g, 'Neg', unary(g, 'Abs', x))))
  return add(g, binary(g, 'Max', x, constantLike(g, x, 0)), tail)
})

/**
 * 1/(1 + exp(−x)). ONNX's own operator is a little faster but has an error of 6e-8 whatever the value: 17 % at −15, and 0
 * from −18 on, whose logarithm is −∞.
 */
export function sigmoid(g: Graph, x: Value): Value {
  return div(g, constantLike(g, x, 1), plus(g, unary(g, 'Exp', unary(g, 'Neg', x)), 1))
}

/** alpha·(exp(x) − 1) below 0. */
export function elu(g: Graph, x: Value): Value {
  if (x.type === 'float32') return unary(g, 'Elu', x)
  const zero = constantLike(g, x, 0)
  return where(g, binary(g, 'GreaterOrEqual', x, zero), x, expm1(g, binary(g, 'Min', x, zero)))
}

const seluScale = 1.0507009873554805
const seluAlpha = 1.6732632423543772

function selu(g: Graph, x: Value): Value {
  if (x.type === 'float32') return unary(g, 'Selu', x, { alpha: { float: seluAlpha }, gamma: { float: seluScale } })
  const zero = constantLike(g, x, 0)
  const below = times(g, expm1(g, binary(g, 'Min', x, zero)), seluAlpha)
  return times(g, where(g, binary(g, 'GreaterOrEqual', x, zero), x, below), seluScale)
}

/** The angle of (x, y), with the signs of zeros, as Math.atan2. */
function atan2(g: Graph, y: Value, x: Value): Value {
  const [height, width] = [unary(g, 'Abs', y), unary(g, 'Abs', x)]
  const one = constantLike(g, x, 1)
  const zero = constantLike(g, x, 0)
  const raw = div(g, height, width)
  const both = (a: Value, b: Value): Value => g.op('And', [a, b], raw.shape, 'bool')
  const atOrigin = both(isZero(g, x), isZero(g, y))
  const diagonal = both(isInfinite(g, x), isInfinite(g, y))
  const angle = atan(g, where(g, atOrigin, zero, where(g, diagonal, one, raw)))
  const negative = (v: Value): Value => {
    // The reciprocal tells −0 from 0.
    const [below, inverted] = [binary(g, 'Less', v, zero), binary(g, 'Less', unary(g, 'Reciprocal', v), zero)]
    return g.op('Or', [below, inverted], v.shape, 'bool')
  }
  const turned = where(g, negative(x), sub(g, constantLike(g, x, Math.PI), angle), angle)
  return where(g, negative(y), unary(g, 'Neg', turned), turned)
}

defineLowerings({
  Acos: unaryKernel(acos),
  Acosh: unaryKernel(acosh),
  Asin: unaryKernel(asin),
  Asinh: unaryKernel(asinh),
  Atan: unaryKernel(atan),
  Atanh: unaryKernel(atanh),
  Cosh: unaryKernel(cosh),
  Sinh: unaryKernel(sinh),
  Tan: unaryKernel(tan),
  Erf: unaryKernel(erf),
  Expm1: unaryKernel(expm1),
  Log1p: unaryKernel(log1p),
  Softplus: unaryKernel(softplus),
  Elu: unaryKernel(elu),
  Selu: unaryKernel(selu),
  Atan2: ({ g, input }) => {
    const [a, b] = [input('a'), input('b')]
    return isFloat(a) ? atan2(g, a, toFloat(g, b)) : toDtypeOf(g, a, atan2(g, cast(g, a, 'float64'), cast(g, b, 'float64')))
  },
})
