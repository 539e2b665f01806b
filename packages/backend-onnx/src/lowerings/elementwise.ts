import { elementTypeOf } from '../backend'
import { binary, broadcastShape, cast, expand, filled, reshape, scalar, unary, where } from '../emit'
import { backendError } from '../errors'
import type { Graph, Value } from '../graph'
import { defineLowerings, isComplex, type AnyValue, type Lowering, type LoweringContext } from '../lowering'
import { constantLike, elu, isFloat, sigmoid, toDtypeOf, toFloat, toInt32, unaryKernel } from './special'

const float32Max = 3.4028234663852886e38

/** Arithmetic whose result has the dtype of the first input; booleans as the logical operation that has the same table. */
function arithmetic(op: string, onBools: 'And' | 'Or' | 'Xor'): (g: Graph, a: Value, b: Value) => Value {
  return (g, a, b) => {
    const other = cast(g, b, a.type)
    return binary(g, a.type === 'bool' ? onBools : op, a, other)
  }
}

const add = arithmetic('Add', 'Or')
const subtract = arithmetic('Sub', 'Xor')
const multiply = arithmetic('Mul', 'And')

function realKernel(apply: (g: Graph, a: Value, b: Value) => Value): Lowering {
  return ({ g, input }) => apply(g, input('a'), input('b'))
}

function comparison(op: string): Lowering {
  return realKernel((g, a, b) => {
    const type = a.type === 'bool' && op !== 'Equal' ? 'int32' : a.type
    return binary(g, op, cast(g, a, type), cast(g, b, type))
  })
}

/** Arithmetic that also works on complex values. */
function complexKernel(apply: (g: Graph, a: Value, b: Value) => Value): Lowering {
  return ({ g, any }) => {
    const [a, b] = [any('a'), any('b')]
    if (!isComplex(a) && !isComplex(b)) return apply(g, a, b)
    const [x, y] = [asComplex(g, a), asComplex(g, b)]
    return { real: apply(g, x.real, y.real), imag: apply(g, x.imag, y.imag) }
  }
}

function asComplex(g: Graph, value: AnyValue): { real: Value; imag: Value } {
  if (isComplex(value)) return value
  const real = toFloat(g, value)
  return { real, imag: filled(g, 0, real.shape, real.type) }
}

/** A function of two numbers computed in double where the inputs are integers, the result cut as an Int32Array does. */
function inDouble(apply: (g: Graph, a: Value, b: Value) => Value): Lowering {
  return realKernel((g, a, b) => {
    if (isFloat(a)) return apply(g, a, cast(g, b, a.type))
    return toDtypeOf(g, a, apply(g, cast(g, a, 'float64'), cast(g, b, 'float64')))
  })
}

/** Remainder with the sign of the divisor; of integers by 0: 0. */
function modulo(g: Graph, a: Value, divisor: Value): Value {
  const b = cast(g, divisor, a.type)
  const zero = constantLike(g, a, 0)
  if (!isFloat(a)) {
    // Division by 0, and of −2³¹ by −1, would end the process.
    const integers = [cast(g, a, 'int64'), cast(g, b, 'int64')]
    const none = binary(g, 'Equal', integers[1], scalar(g, 0, 'int64'))
    const safe = where(g, none, scalar(g, 1, 'int64'), integers[1])
    const remainder = cast(g, binary(g, 'Mod', integers[0], safe), 'int32')
    return cast(g, where(g, none, scalar(g, 0, 'int32'), remainder), a.type)
  }
  const shape = broadcastShape(a.shape, b.shape)
  const remainderOf = (x: Value): Value => g.op('Mod', [x, b], shape, x.type, { fmod: { int: 1 } })
  const remainder = remainderOf(a)
  const both = (p: Value, q: Value): Value => g.op('And', [p, q], shape, 'bool')
  const sameSign = g.op(
    'Or',
    [
      both(binary(g, 'Less', a, zero), binary(g, 'Less', b, zero)),
      both(binary(g, 'GreaterOrEqual', a, zero), binary(g, 'GreaterOrEqual', b, zero)),
    ],
    shape,
    'bool',
  )
  return where(g, sameSign, remainder, remainderOf(binary(g, 'Add', remainder, b)))
}

/** x < 0 ? alpha·x : x. The operator keeps alpha in single precision. */
function leakyRelu(g: Graph, x: Value, alpha: number): Value {
  if (x.type === 'float32') return unary(g, 'LeakyRelu', x, { alpha: { float: alpha } })
  return prelu(g, x, constantLike(g, x, alpha))
}

function prelu(g: Graph, x: Value, alpha: Value): Value {
  return where(g, binary(g, 'Less', x, constantLike(g, x, 0)), binary(g, 'Mul', alpha, x), x)
}

/** An activation fused into a matrix product or convolution. */
export function activate(
  g: Graph,
  x: Value,
  activation: string | null | undefined,
  weights: Value | undefined,
  alpha: number | undefined,
): Value {
  switch (activation) {
    case undefined:
    case null:
    case 'linear':
      return x
    case 'relu':
      return unary(g, 'Relu', x)
    case 'relu6':
      return clip(g, x, 0, 6)
    case 'elu':
      return elu(g, x)
    case 'sigmoid':
      return sigmoid(g, x)
    case 'leakyrelu':
      return leakyRelu(g, x, alpha ?? 0.2)
    case 'prelu':
      if (weights !== undefined) return prelu(g, x, weights)
  }
  throw backendError(`backend onnx: the fused activation '${String(activation)}' is unknown`)
}

/** Bounds of integers are cut towards zero, as storing them in an Int32Array does. */
export function clip(g: Graph, x: Value, min: number, max: number): Value {
  const bound = (value: number): number => {
    if (x.type === 'int32') return Math.max(-(2 ** 31), Math.min(2 ** 31 - 1, Math.trunc(value)))
    // Clip treats infinite bounds as it should, but a bound beyond float32 must not turn into one.
    return x.type === 'float32' && Number.isFinite(value) ? Math.max(-float32Max, Math.min(float32Max, value)) : value
  }
  return g.op('Clip', [x, scalar(g, bound(min), x.type), scalar(g, bound(max), x.type)], x.shape, x.type)
}

/** Bools take part as integers. */
function onNumbers(apply: (g: Graph, x: Value, attrs: Record<string, unknown>) => Value): Lowering {
  return ({ g, input, attrs }) => {
    const x = input('x')
    return x.type === 'bool' ? cast(g, apply(g, cast(g, x, 'int32'), attrs), 'bool') : apply(g, x, attrs)
  }
}

function operator(op: string): (g: Graph, x: Value) => Value {
  return (g, x) => unary(g, op, x)
}

/** Rounding leaves integers alone. */
function rounding(op: string): Lowering {
  return ({ g, input }) => (isFloat(input('x')) ? unary(g, op, input('x')) : input('x'))
}

function test(op: 'IsNaN' | 'IsInf'): Lowering {
  return ({ g, input }) => {
    const x = input('x')
    return isFloat(x) ? g.op(op, [x], x.shape, 'bool') : filled(g, 0, x.shape, 'bool')
  }
}

function bitwise(op: string): Lowering {
  return realKernel((g, a, b) => binary(g, op, a, b))
}

defineLowerings({
  Add: complexKernel(add),
  Sub: complexKernel(subtract),
  Multiply: ({ g, any }) => {
    const [a, b] = [any('a'), any('b')]
    if (!isComplex(a) && !isComplex(b)) return multiply(g, a, b)
    const [x, y] = [asComplex(g, a), asComplex(g, b)]
    return {
      real: binary(g, 'Sub', binary(g, 'Mul', x.real, y.real), binary(g, 'Mul', x.imag, y.imag)),
      imag: binary(g, 'Add', binary(g, 'Mul', x.real, y.imag), binary(g, 'Mul', x.imag, y.real)),
    }
  },
  RealDiv: inDouble((g, a, b) => binary(g, 'Div', a, b)),
  // Integers whatever the inputs; 0 for a division by zero.
  FloorDiv: realKernel((g, a, b) => {
    const [x, y] = isFloat(a) ? [a, cast(g, b, a.type)] : [cast(g, a, 'float64'), cast(g, b, 'float64')]
    return toInt32(g, unary(g, 'Floor', binary(g, 'Div', x, y)))
  }),
  Mod: realKernel(modulo),
  Maximum: realKernel(arithmetic('Max', 'Or')),
  Minimum: realKernel(arithmetic('Min', 'And')),
  Pow: inDouble((g, a, b) => binary(g, 'Pow', a, b)),
  SquaredDifference: realKernel((g, a, b) => {
    const difference = subtract(g, a, b)
    return multiply(g, difference, difference)
  }),
  Equal: comparison('Equal'),
  NotEqual: ({ g, input }) => unary(g, 'Not', binary(g, 'Equal', input('a'), cast(g, input('b'), input('a').type))),
  Less: comparison('Less'),
  LessEqual: comparison('LessOrEqual'),
  Greater: comparison('Greater'),
  GreaterEqual: comparison('GreaterOrEqual'),
  LogicalAnd: realKernel((g, a, b) => binary(g, 'And', cast(g, a, 'bool'), cast(g, b, 'bool'))),
  LogicalOr: realKernel((g, a, b) => binary(g, 'Or', cast(g, a, 'bool'), cast(g, b, 'bool'))),
  LogicalXor: realKernel((g, a, b) => binary(g, 'Xor', cast(g, a, 'bool'), cast(g, b, 'bool'))),
  LogicalNot: ({ g, input }) => unary(g, 'Not', cast(g, input('x'), 'bool')),
  BitwiseAnd: bitwise('BitwiseAnd'),
  BitwiseOr: bitwise('BitwiseOr'),
  BitwiseXor: bitwise('BitwiseXor'),
  AddN: ({ g, list }) => list().reduce((sum, value) => add(g, sum, value)),

  Abs: onNumbers((g, x) => unary(g, 'Abs', x)),
  Neg: onNumbers((g, x) => unary(g, 'Neg', x)),
  Sign: onNumbers((g, x) => {
    if (!isFloat(x)) return unary(g, 'Sign', x)
    // The sign of NaN is 0.
    return where(g, g.op('IsNaN', [x], x.shape, 'bool'), constantLike(g, x, 0), unary(g, 'Sign', x))
  }),
  Square: onNumbers((g, x) => binary(g, 'Mul', x, x)),
  Relu: onNumbers((g, x) => unary(g, 'Relu', x)),
  Relu6: onNumbers((g, x) => clip(g, x, 0, 6)),
  ClipByValue: onNumbers((g, x, attrs) => clip(g, x, attrs.clipValueMin as number, attrs.clipValueMax as number)),
  Step: ({ g, input, attrs }) => {
    const x = input('x')
    const alpha = attrs.alpha as number
    if (x.type === 'bool') return Math.trunc(alpha) === 0 ? x : filled(g, 1, x.shape, 'bool')
    if (isFloat(x) && alpha === 0) {
      // Clipping to [0, 1] and rounding up: one for any positive value, NaN for NaN, and four times faster than choices.
      const clipped = binary(g, 'Min', binary(g, 'Max', x, constantLike(g, x, 0)), constantLike(g, x, 1))
      return unary(g, 'Ceil', clipped)
    }
    const stepped = where(g, binary(g, 'Greater', x, constantLike(g, x, 0)), constantLike(g, x, 1), constantLike(g, x, alpha))
    // NaN stays NaN: it is neither above zero nor equal to itself.
    return isFloat(x) ? where(g, g.op('IsNaN', [x], x.shape, 'bool'), x, stepped) : stepped
  },
  // Floats whatever the input.
  Exp: ({ g, input }) => {
    const x = input('x')
    return isFloat(x) ? unary(g, 'Exp', x) : cast(g, unary(g, 'Exp', cast(g, x, 'float64')), g.float)
  },
  Log: unaryKernel(operator('Log')),
  Sqrt: unaryKernel(operator('Sqrt')),
  Sin: unaryKernel(operator('Sin')),
  Cos: unaryKernel(operator('Cos')),
  Tanh: unaryKernel(operator('Tanh')),
  Sigmoid: unaryKernel(sigmoid),
  Floor: rounding('Floor'),
  Ceil: rounding('Ceil'),
  Round: rounding('Round'),
  Reciprocal: unaryKernel(operator('Reciprocal')),
  Rsqrt: unaryKernel((g, x) => unary(g, 'Reciprocal', unary(g, 'Sqrt', x))),
  LeakyRelu: ({ g, input, attrs }) => leakyRelu(g, toFloat(g, input('x')), attrs.alpha as number),
  Prelu: ({ g, input }) => prelu(g, toFloat(g, input('x')), toFloat(g, input('alpha'))),
  IsNan: test('IsNaN'),
  IsInf: test('IsInf'),
  IsFinite: ({ g, input }) => {
    const x = input('x')
    if (!isFloat(x)) return filled(g, 1, x.shape, 'bool')
    return binary(g, 'Less', unary(g, 'Abs', x), constantLike(g, x, Infinity))
  },
  EluGrad: ({ g, input }) => {
    const [dy, y] = [input('dy'), input('y')]
    return where(
      g,
      binary(g, 'GreaterOrEqual', y, constantLike(g, y, 0)),
      dy,
      binary(g, 'Mul', dy, binary(g, 'Add', y, constantLike(g, y, 1))),
    )
  },
  Select: ({ g, input }) => {
    const [condition, t, e] = [input('condition'), input('t'), input('e')]
    const type = upcast(t, e)
    const rank = t.shape.length
    // A vector condition chooses rows.
    const rows = condition.shape.length === 1 && rank > 1
    const aligned = rows ? reshape(g, condition, [condition.shape[0], ...Array<number>(rank - 1).fill(1)]) : condition
    return where(g, aligned, cast(g, t, type), cast(g, e, type))
  },
  Cast: ({ g, any, attrs }) => {
    const x = any('x')
    const target = attrs.dtype as 'float32' | 'int32' | 'bool' | 'complex64'
    if (target === 'complex64') return asComplex(g, x)
    const real = isComplex(x) ? x.real : x
    return target === 'int32' ? toInt32(g, real) : cast(g, real, elementTypeOf(target, g.float))
  },
  Identity: ({ any }) => any('x'),
  ZerosLike: ({ g, any }) => like(g, any('x'), 0),
  OnesLike: ({ g, any }) => like(g, any('x'), 1),
  Complex: ({ g, input }) => ({ real: toFloat(g, input('real')), imag: toFloat(g, input('imag')) }),
  Real: ({ any }) => realPart(any('input')),
  Imag: ({ g, any }) => asComplex(g, any('input')).imag,
  ComplexAbs: ({ g, any }) => {
    const { real, imag } = asComplex(g, any('x'))
    // Squares of single-precision numbers neither overflow nor vanish in double.
    const square = (part: Value): Value => binary(g, 'Mul', cast(g, part, 'float64'), cast(g, part, 'float64'))
    return cast(g, unary(g, 'Sqrt', binary(g, 'Add', square(real), square(imag))), real.type)
  },
  BroadcastTo: ({ g, input, attrs }) => expand(g, input('x'), attrs.shape as number[]),
})

function like(g: Graph, x: AnyValue, value: number): AnyValue {
  if (!isComplex(x)) return filled(g, value, x.shape, x.type)
  const { shape, type } = x.real
  return { real: filled(g, value, shape, type), imag: filled(g, 0, shape, type) }
}

const typeOrder = ['bool', 'int32', 'float32', 'float64'] as const

function upcast(a: Value, b: Value): (typeof typeOrder)[number] {
  const rank = (x: Value): number => typeOrder.findIndex((type) => type === x.type)
  return typeOrder[Math.max(rank(a), rank(b))]
}

function realPart(value: ReturnType<LoweringContext['any']>): Value {
  return isComplex(value) ? value.real : value
}
