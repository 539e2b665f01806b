import { threads } from './backend'
import { backendError } from './errors'
import { createSession, nativeTensor, type NativeSession } from './native'
import { encodeModel, type ValueProto } from './proto'

/** Options of {@link gemm64}. */
export interface Gemm64Options {
  /** A is stored transposed: `a` is [k, m]. Default false. */
  transposeA?: boolean
  /** B is stored transposed: `b` is [n, k]. Default false. */
  transposeB?: boolean
}

/** Multiply-adds that a second thread needs to pay for its start: about a millisecond of work. */
const threadedWork = 4e6

/** At most four layouts, each with one thread and with all. */
const sessions = new Map<string, NativeSession>()

function sessionFor(transposeA: boolean, transposeB: boolean, threadCount: number): NativeSession {
  const key = `${transposeA} ${transposeB} ${threadCount}`
  const known = sessions.get(key)
  if (known !== undefined) return known
  // The sizes are symbolic, so one session serves products of all shapes.
  const value = (name: string, shape: string[]): ValueProto => ({ name, type: 'float64', shape })
  const model = encodeModel({
    name: 'gemm64',
    nodes: [
      {
        op: 'Gemm',
        inputs: ['a', 'b'],
        outputs: ['c'],
        attributes: { transA: { int: Number(transposeA) }, transB: { int: Number(transposeB) } },
      },
    ],
    inputs: [value('a', transposeA ? ['k', 'm'] : ['m', 'k']), value('b', transposeB ? ['n', 'k'] : ['k', 'n'])],
    outputs: [value('c', ['m', 'n'])],
    initializers: [],
  })
  const session = createSession(model, ['c'], { graphOptimizationLevel: 'disabled', intraOpNumThreads: threadCount })
  // Only a change of `setThreads` brings more.
  if (sessions.size >= 8) {
    sessions.forEach((old) => old.dispose())
    sessions.clear()
  }
  sessions.set(key, session)
  return session
}

/**
 * A B in double precision on the host, with ONNX Runtime's blocked kernels; synchronous, nothing is kept of the arguments.
 *
 * @param a - row-major values of shape `aShape`: [m, k] ([k, m] with `transposeA`)
 * @param b - row-major values of shape `bShape`: [k, n] ([n, k] with `transposeB`)
 * @returns row-major [m, n]
 * @throws BackendError when values and shapes don't fit
 */
export function gemm64(
  a: Float64Array,
  aShape: readonly [number, number],
  b: Float64Array,
  bShape: readonly [number, number],
  options: Gemm64Options = {},
): Float64Array {
  const { transposeA = false, transposeB = false } = options
  const [m, k] = transposeA ? [aShape[1], aShape[0]] : aShape
  const [depth, n] = transposeB ? [bShape[1], bShape[0]] : bShape
  if (k !== depth || a.length !== m * k || b.length !== k * n) {
    throw backendError(
      `gemm64: sizes don't fit: a is ${transposeA ? 'transposed ' : ''}[${aShape.join(', ')}] with ${a.length} values, ` +
        `b is ${transposeB ? 'transposed ' : ''}[${bShape.join(', ')}] with ${b.length}`,
    )
  }
  if (m * n * k === 0) return new Float64Array(m * n)
  const session = sessionFor(transposeA, transposeB, m * n * k < threadedWork ? 1 : threads())
  const { c } = session.run({ a: nativeTensor('float64', a, aShape), b: nativeTensor('float64', b, bShape) })
  return c.data as Float64Array
}
