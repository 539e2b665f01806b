import { binary, concat, matmul, pad, reshape, scalar, slice, transpose } from '../emit'
import type { ConstantData, Graph, Value } from '../graph'
import { defineLowerings, isComplex, type ComplexValue, type Lowering } from '../lowering'

/**
 * Discrete Fourier transforms by matrix products, which are faster than ONNX Runtime's DFT and, for lengths that are no
 * power of two, a hundred times more accurate.
 */

/** Up to this length one product with the whole matrix. */
const directLength = 64
/** Up to this length a product from the left, one per row, beats one large product between two transpositions. */
const leftLength = 32
/** Lengths without a useful divisor go by one product up to here, beyond by Bluestein's convolution. */
const directPrime = 512

function numberArray(g: Graph, values: readonly number[]): ConstantData {
  return g.float === 'float64' ? Float64Array.from(values) : Float32Array.from(values)
}

/** A constant of the graph's float type. */
function floats(g: Graph, values: readonly number[], shape: readonly number[]): Value {
  return g.constant(numberArray(g, values), shape, g.float)
}

/** cos and sin of 2π·turns/of, the whole turns taken off first. */
function angle(turns: number, of: number): number {
  return (2 * Math.PI * (turns % of)) / of
}

/** Multiplies by constant numbers, given as [cosine, sine]. */
function multiply(g: Graph, x: ComplexValue, real: Value, imag: Value): ComplexValue {
  const [a, b] = [x.real, x.imag]
  return {
    real: binary(g, 'Sub', binary(g, 'Mul', a, real), binary(g, 'Mul', b, imag)),
    imag: binary(g, 'Add', binary(g, 'Mul', a, imag), binary(g, 'Mul', b, real)),
  }
}

function both(x: ComplexValue, rearrange: (part: Value) => Value): ComplexValue {
  return { real: rearrange(x.real), imag: rearrange(x.imag) }
}

/** The real matrix [[C, S], [−S, C]] that [re, im] [n, 2m] is multiplied with from the right; `sign` is −1 forwards. */
function fourierMatrix(g: Graph, length: number, sign: 1 | -1): Value {
  const width = 2 * length
  const matrix = new Array<number>(width * width)
  for (let j = 0; j < length; j++) {
    for (let k = 0; k < length; k++) {
      const turn = angle(j * k, length)
      const [c, s] = [Math.cos(turn), sign * Math.sin(turn)]
      matrix[j * width + k] = c
      matrix[j * width + length + k] = s
      matrix[(length + j) * width + k] = -s
      matrix[(length + j) * width + length + k] = c
    }
  }
  return floats(g, matrix, [width, width])
}

function halves(g: Graph, x: Value, axis: number): ComplexValue {
  const length = x.shape[axis] / 2
  return { real: slice(g, x, [axis], [0], [length]), imag: slice(g, x, [axis], [length], [length]) }
}

function direct(g: Graph, x: ComplexValue, length: number, sign: 1 | -1): ComplexValue {
  return halves(g, matmul(g, concat(g, [x.real, x.imag], 1), fourierMatrix(g, length, sign)), 1)
}

/** The divisor next below the square root. */
function divisorOf(length: number): number {
  for (let d = Math.floor(Math.sqrt(length)); d > 1; d--) if (length % d === 0) return d
  return 1
}

/**
 * Four steps for length = p·q: transforms of length p over j₁ of x[j₁·q + j₂], a twist by e^(±2πi·j₂·k₁/length), transforms
 * of length q over j₂, and out[k₁ + p·k₂].
 */
function fourStep(g: Graph, x: ComplexValue, length: number, p: number, sign: 1 | -1): ComplexValue {
  const q = length / p
  const rows = x.real.shape[0]
  const turns = Array.from({ length: p * q }, (_, i) => angle(Math.floor(i / q) * (i % q), length))
  const twists = [
    floats(g, turns.map(Math.cos), [p, q]),
    floats(
      g,
      turns.map((turn) => sign * Math.sin(turn)),
      [p, q],
    ),
  ] as const
  const first = columnTransform(
    g,
    both(x, (part) => reshape(g, part, [rows, p, q])),
    sign,
  )
  const twisted = multiply(g, first, ...twists)
  const second = transform(
    g,
    both(twisted, (part) => reshape(g, part, [rows * p, q])),
    q,
    sign,
  )
  return both(second, (part) => reshape(g, transpose(g, reshape(g, part, [rows, p, q]), [0, 2, 1]), [rows, length]))
}

/** Transforms of the middle axis of [rows, p, q]; short ones by a product from the left, which moves nothing. */
function columnTransform(g: Graph, x: ComplexValue, sign: 1 | -1): ComplexValue {
  const [rows, p, q] = x.real.shape
  if (p <= leftLength) {
    const matrix = transpose(g, fourierMatrix(g, p, sign), [1, 0])
    return halves(g, matmul(g, matrix, concat(g, [x.real, x.imag], 1)), 1)
  }
  const columns = both(x, (part) => reshape(g, transpose(g, part, [0, 2, 1]), [rows * q, p]))
  return both(transform(g, columns, p, sign), (part) => transpose(g, reshape(g, part, [rows, q, p]), [0, 2, 1]))
}

/** In-place radix-2 transform of host values. */
function hostTransform(real: Float64Array, imag: Float64Array): void {
  const n = real.length
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1
    for (; (j & bit) !== 0; bit >>= 1) j ^= bit
    j ^= bit
    if (i < j) {
      ;[real[i], real[j]] = [real[j], real[i]]
      ;[imag[i], imag[j]] = [imag[j], imag[i]]
    }
  }
  for (let size = 2; size <= n; size *= 2) {
    const half = size / 2
    for (let k = 0; k < half; k++) {
      const [c, s] = [Math.cos(angle(k, size)), -Math.sin(angle(k, size))]
      for (let at = k; at < n; at += size) {
        const other = at + half
        const re = real[other] * c - imag[other] * s
        const im = real[other] * s + imag[other] * c
        real[other] = real[at] - re
        imag[other] = imag[at] - im
        real[at] += re
        imag[at] += im
      }
    }
  }
}

/** Bluestein: j·k = (j² + k² − (k − j)²)/2 turns the transform into a convolution, done at a power of two. */
function bluestein(g: Graph, x: ComplexValue, length: number, sign: 1 | -1): ComplexValue {
  const padded = 2 ** Math.ceil(Math.log2(2 * length - 1))
  const turns = Array.from({ length }, (_, j) => {
    // j² mod 2·length, exact for lengths up to 2²⁶.
    return angle((j * j) % (2 * length), 2 * length)
  })
  const [cosines, sines] = [turns.map(Math.cos), turns.map((turn) => sign * Math.sin(turn))]
  const [filterReal, filterImag] = [new Float64Array(padded), new Float64Array(padded)]
  for (let j = 0; j < length; j++) {
    for (const at of new Set([j, (padded - j) % padded])) {
      filterReal[at] = cosines[j]
      filterImag[at] = -sines[j]
    }
  }
  hostTransform(filterReal, filterImag)
  const [c, s] = [floats(g, cosines, [length]), floats(g, sines, [length])]
  const chirped = both(multiply(g, x, c, s), (part) =>
    pad(g, part, [
      [0, 0],
      [0, padded - length],
    ]),
  )
  const spectrum = multiply(
    g,
    transform(g, chirped, padded, -1),
    floats(g, [...filterReal], [padded]),
    floats(g, [...filterImag], [padded]),
  )
  const convolved = both(transform(g, spectrum, padded, 1), (part) => slice(g, part, [1], [0], [length]))
  return scale(g, multiply(g, convolved, c, s), 1 / padded)
}

function scale(g: Graph, x: ComplexValue, factor: number): ComplexValue {
  return both(x, (part) => binary(g, 'Mul', part, scalar(g, factor, part.type)))
}

/** Σⱼ xⱼ·e^(sign·2πi·j·k/length) over the last axis of [rows, length]. */
function transform(g: Graph, x: ComplexValue, length: number, sign: 1 | -1): ComplexValue {
  if (length === 1) return x
  if (length <= directLength) return direct(g, x, length, sign)
  const divisor = divisorOf(length)
  // With a divisor as small as 2 the other factor is nearly the whole length: still worth splitting off.
  if (divisor > 1) return fourStep(g, x, length, divisor, sign)
  return length <= directPrime ? direct(g, x, length, sign) : bluestein(g, x, length, sign)
}

function fourier(sign: 1 | -1): Lowering {
  return ({ g, any }) => {
    const input = any('input')
    const x: ComplexValue = isComplex(input) ? input : { real: input, imag: binary(g, 'Sub', input, input) }
    const { shape } = x.real
    const length = shape[shape.length - 1]
    const rows = shape.slice(0, -1).reduce((product, size) => product * size, 1)
    const y = transform(
      g,
      both(x, (part) => reshape(g, part, [rows, length])),
      length,
      sign,
    )
    const scaled = sign === 1 ? scale(g, y, 1 / length) : y
    return both(scaled, (part) => reshape(g, part, shape))
  }
}

defineLowerings({
  FFT: fourier(-1),
  IFFT: fourier(1),
})
