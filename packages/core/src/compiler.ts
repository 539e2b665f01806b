import * as tf from '@tensorflow/tfjs-core'

/** Shape and dtype of an argument of a traced function. */
export interface TensorSpec {
  shape: readonly number[]
  dtype: 'float32' | 'int32' | 'bool'
}

/** A function of tensors turned into one native call. */
export interface Traced {
  /** Runs it; the caller owns the results. */
  run(inputs: readonly tf.Tensor[]): tf.Tensor[]
  dispose(): void
}

/** An ONNX file as a function: tensors in the order of `inputs`, results in the order of `outputs`. */
export interface OnnxModel {
  (...tensors: tf.Tensor[]): tf.Tensor[]
  readonly inputs: readonly { readonly name: string }[]
  readonly outputs: readonly { readonly name: string }[]
  dispose(): void
}

/** One step of a loop in a graph, or what the whole loop gives. */
export interface LoopStep {
  carries: tf.Tensor[]
  outputs: tf.Tensor[]
}

/**
 * What a backend that compiles offers: the interface between this package, which knows trees and keys, and a backend
 * such as `@bpf/backend-onnx`, which knows tensors. It is found on the backend itself, so neither imports the other.
 */
export interface Compiler {
  trace(
    fn: (...inputs: tf.Tensor[]) => tf.Tensor[],
    specs: readonly TensorSpec[],
    options: { name?: string; precision?: 'float32' | 'float64' },
  ): Traced
  /** What a function costs, from its trace. */
  account(
    fn: (...inputs: tf.Tensor[]) => tf.Tensor[],
    specs: readonly TensorSpec[],
  ): { multiplyAdds: number; peakBytes: number; operations: Record<string, number> }
  /** Whether a function is being traced right now. */
  isTracing(): boolean
  /** Inside a trace: an input that `read` gives anew at each run; in loops for each step, given the loops' indices, outermost first. */
  hostInput(spec: TensorSpec, read: (steps: readonly number[]) => Float32Array | Int32Array | Uint8Array): tf.Tensor
  scan(
    body: (carries: tf.Tensor[], slices: tf.Tensor[]) => LoopStep,
    init: readonly tf.Tensor[],
    xs: readonly tf.Tensor[],
    length: number,
    reverse?: boolean,
  ): LoopStep & { closure: tf.Tensor[] }
  cond(condition: tf.Tensor, branches: readonly [() => tf.Tensor[], () => tf.Tensor[]]): { outputs: tf.Tensor[]; closure: tf.Tensor[] }
  whileLoop(
    condition: (carries: tf.Tensor[]) => tf.Tensor,
    body: (carries: tf.Tensor[]) => tf.Tensor[],
    init: readonly tf.Tensor[],
    maxSteps: number | undefined,
  ): tf.Tensor[]
  /** Keeps a tensor made during the trace until the trace ends. */
  keepUntilTraced(tensor: tf.Tensor): void
  /** Random words inside a trace: `bits` as signed integers, and their 16-bit halves, int32 [counters.size, 2] each. */
  randomWords(words: tf.Tensor, counters: tf.Tensor, counter1: number): { bits: tf.Tensor; high: tf.Tensor; low: tf.Tensor }
  /** A function as the bytes of an `.onnx` file. */
  exportOnnx(
    fn: (...inputs: tf.Tensor[]) => readonly tf.Tensor[],
    sample: readonly TensorSpec[],
    options: { inputNames?: readonly string[]; outputNames?: readonly string[]; dynamicBatch?: boolean; name?: string },
  ): Uint8Array
  /** An `.onnx` file as a function of tensors. */
  loadOnnx(bytes: Uint8Array, options: { threads?: number }): OnnxModel
  /** A tensor in double precision, read back as Float64Array. */
  float64Tensor(values: Float64Array, shape: readonly number[]): tf.Tensor
  /** A B in double precision on the host, synchronously; shapes as stored: `a` is [m, k], or [k, m] with `transposeA`. @returns [m, n] */
  gemm64?(
    a: Float64Array,
    aShape: readonly [number, number],
    b: Float64Array,
    bShape: readonly [number, number],
    options?: { transposeA?: boolean; transposeB?: boolean },
  ): Float64Array
}

/** The compiler of the backend in use, where it has one. */
export function currentCompiler(): Compiler | undefined {
  const { backend } = tf.engine() as unknown as { backend?: { compiler?: Compiler } }
  return backend?.compiler
}

/** {@link currentCompiler} for code that needs no backend: asking does not start one. */
export function startedCompiler(): Compiler | undefined {
  const { backendInstance } = tf.engine() as unknown as { backendInstance?: { compiler?: Compiler } | null }
  return backendInstance?.compiler
}
