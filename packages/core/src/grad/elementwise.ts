import * as tf from '@tensorflow/tfjs-core'
import { binary, constant, define, filled, output, runKernel, sumTo, unary, unaryFromOutput } from './define'
import { refuseNested } from './spectral'

/** Complex conjugate; a real tensor is returned as it is. */
function conj(x: tf.Tensor): tf.Tensor {
  if (x.dtype !== 'complex64') return x
  refuseNested('a product')
  return tf.complex(tf.real(x), tf.neg(tf.imag(x)))
}

function zerosOf(x: tf.Tensor): tf.Tensor {
  return filled(x.shape, 0)
}

const float = (x: tf.Tensor): tf.Tensor => (x.dtype === 'float32' || x.dtype === 'complex64' ? x : tf.cast(x, 'float32'))
const mask = (condition: tf.Tensor): tf.Tensor => tf.cast(condition, 'float32')
const squared = (x: tf.Tensor): tf.Tensor => tf.square(float(x))

const arithmetic: tf.GradConfig[] = [
  binary(
    'Add',
    (dy) => dy,
    (dy) => dy,
  ),
  binary(
    'Sub',
    (dy) => dy,
    (dy) => tf.neg(dy),
  ),
  binary(
    'Multiply',
    (dy, _, b) => tf.mul(dy, conj(b)),
    (dy, a) => tf.mul(dy, conj(a)),
  ),
  binary(
    'RealDiv',
    (dy, _, b) => tf.div(dy, float(b)),
    (dy, a, b) => tf.neg(tf.div(tf.mul(dy, float(a)), squared(b))),
  ),
  binary(
    'SquaredDifference',
    (dy, a, b) => tf.mul(dy, tf.mul(2, tf.sub(a, b))),
    (dy, a, b) => tf.mul(dy, tf.mul(2, tf.sub(b, a))),
  ),
  // At a tie all of the gradient goes to `a`, as in TensorFlow: a valid subgradient.
  binary(
    'Maximum',
    (dy, a, b) => tf.mul(dy, mask(tf.greaterEqual(a, b))),
    (dy, a, b) => tf.mul(dy, mask(tf.less(a, b))),
  ),
  binary(
    'Minimum',
    (dy, a, b) => tf.mul(dy, mask(tf.lessEqual(a, b))),
    (dy, a, b) => tf.mul(dy, mask(tf.greater(a, b))),
  ),
  binary(
    'Mod',
    (dy) => dy,
    (dy, a, b) => tf.neg(tf.mul(dy, tf.floor(tf.div(float(a), float(b))))),
  ),
  binary(
    'Atan2',
    (dy, a, b) => tf.mul(dy, tf.div(b, tf.add(tf.square(a), tf.square(b)))),
    (dy, a, b) => tf.neg(tf.mul(dy, tf.div(a, tf.add(tf.square(a), tf.square(b))))),
  ),
  define({
    kernel: 'Pow',
    save: ['a', 'b'],
    saveOutput: true,
    gradients: (dy, [a, b, y]) => ({
      // An exponent of zero must give zero at a base of zero too, not 0 · 0⁻¹.
      a: () => {
        const exponent = float(b)
        const lower = tf.where(tf.equal(exponent, 0), zerosOf(b), tf.sub(exponent, 1))
        return sumTo(tf.mul(dy, tf.mul(exponent, tf.pow(float(a), lower))), a.shape)
      },
      // A base that is not positive has no derivative in the exponent: zero there, and no NaN in what follows.
      b: () => {
        const isPositive = tf.greater(a, 0)
        const logBase = tf.log(tf.where(isPositive, float(a), filled(a.shape, 1)))
        return sumTo(tf.mul(dy, tf.mul(float(output(y, () => tf.pow(a, b))), logBase)), b.shape)
      },
    }),
  }),
  define({
    kernel: 'AddN',
    saveAll: true,
    gradients: (dy, saved) => Object.fromEntries(saved.map((x, i) => [i, () => tf.reshape(dy, x.shape)])),
  }),
]

const unaries: tf.GradConfig[] = [
  unary('Neg', (dy) => tf.neg(dy)),
  unary('Square', (dy, x) => tf.mul(dy, tf.mul(float(x), 2))),
  unary('Reciprocal', (dy, x) => tf.neg(tf.div(dy, tf.square(x)))),
  unary('Log', (dy, x) => tf.div(dy, float(x))),
  unary('Log1p', (dy, x) => tf.div(dy, tf.add(x, 1))),
  unary('Expm1', (dy, x) => tf.mul(dy, tf.exp(x))),
  unary('Abs', (dy, x) => tf.mul(dy, tf.sign(float(x)))),
  unary('Sin', (dy, x) => tf.mul(dy, tf.cos(float(x)))),
  unary('Cos', (dy, x) => tf.neg(tf.mul(dy, tf.sin(float(x))))),
  unary('Tan', (dy, x) => tf.div(dy, tf.square(tf.cos(x)))),
  unary('Asin', (dy, x) => tf.mul(dy, tf.rsqrt(tf.sub(1, squared(x))))),
  unary('Acos', (dy, x) => tf.neg(tf.mul(dy, tf.rsqrt(tf.sub(1, squared(x)))))),
  unary('Atan', (dy, x) => tf.div(dy, tf.add(squared(x), 1))),
  unary('Sinh', (dy, x) => tf.mul(dy, tf.cosh(float(x)))),
  unary('Cosh', (dy, x) => tf.mul(dy, tf.sinh(float(x)))),
  unary('Asinh', (dy, x) => tf.mul(dy, tf.rsqrt(tf.add(squared(x), 1)))),
  unary('Acosh', (dy, x) => tf.mul(dy, tf.rsqrt(tf.sub(squared(x), 1)))),
  unary('Atanh', (dy, x) => tf.div(dy, tf.sub(1, squared(x)))),
  unary('Erf', (dy, x) => tf.mul(dy, tf.mul(tf.exp(tf.neg(tf.square(x))), 2 / Math.sqrt(Math.PI)))),
  unaryFromOutput('Exp', tf.exp, (dy, y) => tf.mul(dy, y)),
  unaryFromOutput('Sqrt', tf.sqrt, (dy, y) => tf.div(dy, tf.mul(y, 2))),
  unaryFromOutput('Rsqrt', tf.rsqrt, (dy, y) => tf.mul(dy, tf.mul(tf.mul(tf.square(y), y), -0.5))),
  unaryFromOutput('Tanh', tf.tanh, (dy, y) => tf.mul(dy, tf.sub(1, tf.square(y)))),
  unaryFromOutput('Sigmoid', tf.sigmoid, (dy, y) => tf.mul(dy, tf.mul(y, tf.sub(1, y)))),
]

const seluScaleAlpha = tf.backend_util.SELU_SCALEALPHA
const seluScale = tf.backend_util.SELU_SCALE

const activations: tf.GradConfig[] = [
  unary('Relu', (dy, x) => tf.mul(dy, mask(tf.greater(x, 0)))),
  unary('Relu6', (dy, x) => tf.mul(dy, tf.mul(tf.step(x), mask(tf.lessEqual(x, 6))))),
  unary<{ alpha: number }>('LeakyRelu', (dy, x, { alpha }) => tf.mul(dy, tf.step(x, alpha))),
  unary('Softplus', (dy, x) => tf.mul(dy, tf.sigmoid(x))),
  unaryFromOutput('Elu', tf.elu, (dy, y) => runKernel('EluGrad', { dy, y })),
  // y ↦ dy · (y ≥ 0 ? 1 : y + 1)
  define({
    kernel: 'EluGrad',
    save: ['dy', 'y'],
    gradients: (ddx, [dy, y]) => ({
      dy: () => runKernel('EluGrad', { dy: ddx, y }),
      y: () => tf.mul(tf.mul(ddx, dy), mask(tf.less(y, 0))),
    }),
  }),
  unary('Selu', (dy, x) => {
    // The branch not taken must not overflow: 0 · Infinity would be NaN in the second derivative.
    const negative = tf.mul(tf.exp(tf.minimum(float(x), 0)), seluScaleAlpha)
    return tf.mul(dy, tf.where(tf.greater(x, 0), filled(x.shape, seluScale), negative))
  }),
  define({
    kernel: 'Prelu',
    save: ['x', 'alpha'],
    gradients: (dy, [x, alpha]) => ({
      x: () => tf.mul(dy, tf.where(tf.greater(x, 0), filled(x.shape, 1), tf.mul(alpha, filled(x.shape, 1)))),
      alpha: () => sumTo(tf.mul(dy, tf.minimum(x, 0)), alpha.shape),
    }),
  }),
  unary<{ clipValueMin: number; clipValueMax: number }>('ClipByValue', (dy, x, { clipValueMin, clipValueMax }) =>
    tf.where(tf.logicalAnd(tf.greaterEqual(x, clipValueMin), tf.lessEqual(x, clipValueMax)), dy, zerosOf(dy)),
  ),
]

const selection: tf.GradConfig[] = [
  define({
    kernel: 'Select',
    save: ['condition'],
    gradients: (dy, [condition]) => {
      // `condition` has the shape of dy, or of its first axis.
      const shape = [...condition.shape, ...new Array<number>(dy.rank - condition.rank).fill(1)]
      const chosen = (where: tf.Tensor): tf.Tensor => tf.mul(dy, mask(tf.reshape(where, shape)))
      return {
        condition: () => zerosOf(condition),
        t: () => chosen(condition),
        e: () => chosen(tf.logicalNot(condition)),
      }
    },
  }),
  define<{ dtype: tf.DataType }>({
    kernel: 'Cast',
    save: ['x'],
    // Casting to whole numbers is a rounding: its derivative is zero.
    gradients: (dy, [x], { dtype }) => ({ x: () => (dtype === 'int32' || dtype === 'bool' ? zerosOf(x) : castGradient(dy, x)) }),
  }),
  define({
    kernel: 'Identity',
    save: ['x'],
    gradients: (dy, [x]) => ({ x: () => castGradient(dy, x) }),
  }),
]

/** The gradient of a real input is real; a complex one stays complex. */
function castGradient(dy: tf.Tensor, x: tf.Tensor): tf.Tensor {
  if (x.dtype === 'complex64' && dy.dtype !== 'complex64') return tf.complex(dy, zerosOf(dy))
  if (x.dtype !== 'complex64' && dy.dtype === 'complex64') return tf.real(dy)
  return tf.reshape(dy, x.shape)
}

const constants: tf.GradConfig[] = [
  ...['Ceil', 'Floor', 'Round', 'Sign', 'Step', 'IsNan', 'IsInf', 'IsFinite', 'LogicalNot', 'ZerosLike', 'OnesLike'].map((kernel) =>
    constant(kernel, ['x']),
  ),
  ...['Equal', 'NotEqual', 'Greater', 'GreaterEqual', 'Less', 'LessEqual', 'LogicalAnd', 'LogicalOr', 'LogicalXor', 'FloorDiv'].map(
    (kernel) => constant(kernel, ['a', 'b']),
  ),
]

export const elementwiseGradients: tf.GradConfig[] = [...arithmetic, ...unaries, ...activations, ...selection, ...constants]
