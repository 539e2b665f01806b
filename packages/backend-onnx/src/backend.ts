import * as tf from '@tensorflow/tfjs-core'
import { MathBackendCPU } from '@tensorflow/tfjs-backend-cpu'
import { backendError, tracingError } from './errors'
import { fallbackKernels, viewKernels } from './fallback-kernels'
import { createGraph, type Graph, type Spec, type Value } from './graph'
import type { Compiler } from './compiler'
import { isComplex, loweringOf, type AnyValue, type LoweringContext } from './lowering'
import { createSession, nativeTensor, type NativeSession, type NativeTensor } from './native'
import { encodeModel, type ElementType } from './proto'

/** What the cpu backend keeps of a tensor; `symbolic` is ours. */
interface Entry {
  values?: tf.BackendValues
  dtype: tf.DataType
  refCount: number
  complexTensorInfos?: { real: tf.TensorInfo; imag: tf.TensorInfo }
  symbolic?: Value
}

/** How often each kernel ran natively and by fallback: read by the conformance run. */
export interface KernelCounts {
  native: Record<string, number>
  fallback: Record<string, number>
}

/** Gives the values of a host input: `steps` are the indices of the loops around it, outermost first. */
export type HostRead = (steps: readonly number[]) => Float32Array | Float64Array | Int32Array | Uint8Array

/** A trace in progress. */
export interface Tracer {
  readonly graph: Graph
  /** Tensors with a smaller id were there before the trace. */
  readonly firstTensor: number
  /** Tensors to free when the trace ends. */
  readonly kept: tf.Tensor[]
  /** The value of a concrete tensor met on the way. */
  capture(tensor: tf.TensorInfo): AnyValue
  /** An input that `read` gives anew at each run; in a loop, for each step, given the indices of the loops around it. */
  hostInput(spec: Spec, read: HostRead): Value
  /** Told of every symbolic tensor that is used. */
  used?(tensor: tf.TensorInfo, value: Value): void
}

/** TensorFlow.js dtype of an element type. */
export function dtypeOf(type: ElementType): 'float32' | 'int32' | 'bool' {
  if (type === 'float32' || type === 'float64') return 'float32'
  if (type === 'int32' || type === 'bool') return type
  throw backendError(`a lowering gave ${type}, which TensorFlow.js does not have`)
}

/** Element type of a TensorFlow.js dtype, float32 being what the graph computes floats in. */
export function elementTypeOf(dtype: tf.DataType, float: 'float32' | 'float64'): ElementType {
  if (dtype === 'float32') return float
  if (dtype === 'int32' || dtype === 'bool') return dtype
  throw backendError(`dtype ${dtype} has no ONNX element type here`)
}

/** Sessions of eager kernels are kept up to this many; the least recently used go first. */
const cacheLimit = 512
/** Below this many input values a kernel is quicker in JavaScript than through a session call of 20 to 50 µs. */
const smallElementwise = 2048
const smallContraction = 256
const contractions = /^(BatchMatMul|_FusedMatMul|Conv|FusedConv|DepthwiseConv|FusedDepthwiseConv|Einsum|MaxPool|AvgPool)/

interface EagerKernel {
  session: NativeSession
  inputNames: readonly string[]
  outputs: readonly EagerOutput[]
}

/** One result; of a complex one the names of its parts. */
interface EagerOutput {
  names: readonly [string] | readonly [string, string]
  shape: readonly number[]
  dtype: 'float32' | 'int32' | 'bool'
}

/**
 * TensorFlow.js backend on ONNX Runtime. Values live as the cpu backend keeps them (typed arrays), so any kernel can
 * also run there; big ones run in native sessions, and inside a trace all become nodes of one graph.
 */
export class OnnxBackend extends MathBackendCPU {
  /** What `@bpf/core`'s compile finds here. */
  compiler: Compiler | undefined
  readonly counts: KernelCounts = { native: {}, fallback: {} }
  /** Traces in progress, innermost last. */
  readonly tracers: Tracer[] = []
  private readonly sessions = new Map<string, EagerKernel>()

  constructor() {
    super()
    // The cpu backend would advise to install tfjs-node.
    ;(this as unknown as { firstUse: boolean }).firstUse = false
  }

  private get neverFallBack(): boolean {
    return process.env.BPF_ONNX_FALLBACK === 'never'
  }

  entry(dataId: object): Entry {
    return this.data.get(dataId) as unknown as Entry
  }

  get tracer(): Tracer | undefined {
    return this.tracers[this.tracers.length - 1]
  }

  /** Number of native sessions kept for eager kernels. */
  get cachedSessions(): number {
    return this.sessions.size
  }

  /** A tensor whose values exist only in the graph being traced. */
  makeSymbolic(value: AnyValue): tf.TensorInfo {
    if (isComplex(value)) {
      const info = this.makeTensorInfo([...value.real.shape], 'complex64')
      this.entry(info.dataId).complexTensorInfos = { real: this.makeSymbolic(value.real), imag: this.makeSymbolic(value.imag) }
      return info
    }
    const dtype = dtypeOf(value.type)
    const info = this.makeTensorInfo([...value.shape], dtype)
    this.entry(info.dataId).symbolic = value
    return info
  }

  isSymbolic(tensor: tf.TensorInfo): boolean {
    const { symbolic, complexTensorInfos } = this.entry(tensor.dataId)
    return symbolic !== undefined || (complexTensorInfos !== undefined && this.isSymbolic(complexTensorInfos.real))
  }

  override readSync(dataId: object): tf.BackendValues {
    this.refuseSymbolic(dataId)
    const { values } = this.entry(dataId)
    // The cpu backend would round double precision to single.
    if ((values as unknown) instanceof Float64Array) return values as tf.BackendValues
    return super.readSync(dataId)
  }

  override async read(dataId: object): Promise<tf.BackendValues> {
    return Promise.resolve(this.readSync(dataId))
  }

  override bufferSync<R extends tf.Rank, D extends tf.DataType>(t: tf.TensorInfo): tf.TensorBuffer<R, D> {
    this.refuseSymbolic(t.dataId)
    return super.bufferSync(t)
  }

  private refuseSymbolic(dataId: object): void {
    const { symbolic, complexTensorInfos } = this.entry(dataId)
    if (symbolic === undefined && (complexTensorInfos === undefined || !this.isSymbolic(complexTensorInfos.real))) return
    throw tracingError(
      `a value of shape [${(symbolic?.shape ?? []).join(', ')}] was read while its function is being compiled, where only its shape is known. ` +
        'Compute with tensors (tf.where, cond, scan) instead of JavaScript values, or read the value outside the compiled function',
    )
  }

  /** Runs one kernel: into the graph being traced, natively, or as the cpu backend does. */
  runKernel(
    kernel: string,
    cpu: tf.KernelFunc | undefined,
    inputs: tf.NamedTensorInfoMap,
    attrs: tf.NamedAttrMap | undefined,
  ): tf.TensorInfo | tf.TensorInfo[] {
    const tracer = this.tracer
    if (
      tracer !== undefined &&
      Object.values(inputs).some((tensor) => tensor !== undefined && (this.isSymbolic(tensor) || isVariable(tensor)))
    ) {
      return this.traceKernel(kernel, tracer, inputs, attrs)
    }
    if (this.runsNatively(kernel, inputs, cpu)) {
      const result = this.tryNatively(kernel, cpu, inputs, attrs)
      this.counts.native[kernel] = (this.counts.native[kernel] ?? 0) + 1
      return result
    }
    if (cpu === undefined) throw backendError(`backend onnx: kernel ${kernel} has no implementation for ${describeInputs(inputs)}`)
    this.counts.fallback[kernel] = (this.counts.fallback[kernel] ?? 0) + 1
    return cpu({ inputs, attrs, backend: this })
  }

  private traceKernel(
    kernel: string,
    tracer: Tracer,
    inputs: tf.NamedTensorInfoMap,
    attrs: tf.NamedAttrMap | undefined,
  ): tf.TensorInfo | tf.TensorInfo[] {
    const lowering = loweringOf(kernel)
    if (lowering === undefined) {
      throw tracingError(
        `compile: the operation ${kernel} cannot be compiled (${describeInputs(inputs)}). Run it outside the compiled function`,
      )
    }
    const values = Object.fromEntries(
      Object.entries(inputs).flatMap(([name, tensor]) => (tensor === undefined ? [] : [[name, this.graphValue(tensor, tracer)]])),
    )
    const outputs = lowering(makeContext(kernel, tracer.graph, values, attrs))
    return Array.isArray(outputs) ? outputs.map((value) => this.makeSymbolic(value)) : this.makeSymbolic(outputs)
  }

  /** The value of a tensor in a trace: symbolic, or captured. */
  graphValue(tensor: tf.TensorInfo, tracer: Tracer): AnyValue {
    if (isVariable(tensor)) return tracer.capture(tensor)
    const { symbolic, complexTensorInfos } = this.entry(tensor.dataId)
    if (complexTensorInfos !== undefined && this.isSymbolic(complexTensorInfos.real)) {
      return {
        real: this.graphValue(complexTensorInfos.real, tracer) as Value,
        imag: this.graphValue(complexTensorInfos.imag, tracer) as Value,
      }
    }
    if (symbolic === undefined) return tracer.capture(tensor)
    if (!tracer.graph.sees(symbolic)) {
      throw tracingError('a tensor of another compiled function, or of a loop body that has ended, was used: return it from there instead')
    }
    tracer.used?.(tensor, symbolic)
    return symbolic
  }

  private runsNatively(kernel: string, inputs: tf.NamedTensorInfoMap, cpu: tf.KernelFunc | undefined): boolean {
    if (loweringOf(kernel) === undefined) {
      if (cpu === undefined || (this.neverFallBack && !(kernel in fallbackKernels))) {
        throw backendError(`backend onnx: kernel ${kernel} has no lowering (inputs ${describeInputs(inputs)})`)
      }
      return false
    }
    if (cpu !== undefined && viewKernels.has(kernel)) return false
    let size = 0
    for (const tensor of Object.values(inputs)) {
      if (tensor === undefined) continue
      if (tensor.dtype === 'string') return false
      const count = tf.util.sizeFromShape(tensor.shape)
      if (count === 0 && !takesEmpty.has(kernel)) return false
      size += count
    }
    if (cpu === undefined) return true
    // ONNX counts negative indices from the end; here they are mistakes, which the cpu kernel reports.
    const indices = inputs[indexInputs[kernel]] as tf.TensorInfo | undefined
    if (indices !== undefined && (this.entry(indices.dataId).values as Int32Array).some((index) => index < 0)) return false
    if (this.neverFallBack) return true
    return size >= (contractions.test(kernel) ? smallContraction : smallElementwise)
  }

  /** The native library's messages speak of ONNX nodes; where the cpu kernel refuses too, it says why in the caller's terms. */
  private tryNatively(
    kernel: string,
    cpu: tf.KernelFunc | undefined,
    inputs: tf.NamedTensorInfoMap,
    attrs: tf.NamedAttrMap | undefined,
  ): tf.TensorInfo | tf.TensorInfo[] {
    try {
      return this.runSession(kernel, inputs, attrs)
    } catch (error) {
      if (cpu !== undefined) {
        const unwanted = cpu({ inputs, attrs, backend: this })
        for (const info of [unwanted].flat()) this.disposeIntermediateTensorInfo(info)
      }
      throw error
    }
  }

  private runSession(kernel: string, inputs: tf.NamedTensorInfoMap, attrs: tf.NamedAttrMap | undefined): tf.TensorInfo | tf.TensorInfo[] {
    const given = Object.entries(inputs).filter((pair): pair is [string, tf.TensorInfo] => pair[1] !== undefined)
    const key = `${kernel}|${attributesKey(attrs)}|${given.map(([name, { dtype, shape }]) => `${name}:${dtype}[${shape.join()}]`).join()}`
    let compiled = this.sessions.get(key)
    if (compiled === undefined) {
      compiled = buildEager(kernel, given, attrs)
      if (this.sessions.size >= cacheLimit) this.evict()
    } else {
      this.sessions.delete(key)
    }
    // Last in the map is the most recently used.
    this.sessions.set(key, compiled)

    const feeds: Record<string, NativeTensor> = {}
    let next = 0
    for (const [, tensor] of given) {
      for (const part of this.parts(tensor)) {
        const name = compiled.inputNames[next++]
        feeds[name] = nativeTensor(part.dtype, part.values, part.shape)
      }
    }
    const results = compiled.session.run(feeds)
    const outputs = compiled.outputs.map(({ names, shape, dtype }) => {
      const [first, imag] = names.map((name) => this.makeTensorInfo([...shape], dtype, results[name].data as tf.BackendValues))
      return imag === undefined ? first : this.joinComplex(first, imag)
    })
    return this.joinOutputs(kernel, outputs)
  }

  /** A complex tensor that owns its parts. */
  private joinComplex(real: tf.TensorInfo, imag: tf.TensorInfo): tf.TensorInfo {
    const info = this.makeTensorInfo(real.shape, 'complex64')
    this.entry(info.dataId).complexTensorInfos = { real, imag }
    return info
  }

  private joinOutputs(kernel: string, outputs: tf.TensorInfo[]): tf.TensorInfo | tf.TensorInfo[] {
    return outputs.length === 1 && !multipleOutputs.has(kernel) ? outputs[0] : outputs
  }

  /** The real tensors of a tensor: itself, or real and imaginary part. */
  private parts(tensor: tf.TensorInfo): { dtype: string; values: ArrayBufferView; shape: number[] }[] {
    const { values, complexTensorInfos } = this.entry(tensor.dataId)
    if (complexTensorInfos !== undefined) {
      const { shape } = tensor
      const { real, imag } = complexTensorInfos
      return [...this.parts({ ...real, shape }), ...this.parts({ ...imag, shape })]
    }
    return [{ dtype: tensor.dtype, values: valuesAs(values, elementTypeOf(tensor.dtype, 'float32')), shape: tensor.shape }]
  }

  private evict(): void {
    const oldest = this.sessions.keys().next().value as string
    this.sessions.get(oldest)?.session.dispose()
    this.sessions.delete(oldest)
  }

  override dispose(): void {
    for (const { session } of this.sessions.values()) session.dispose()
    this.sessions.clear()
  }
}

/** Kernels whose result is a list even of one. */
const multipleOutputs = new Set(['SplitV', 'Unpack', 'TopK', 'Unique'])

/** Kernels that take indices, and the name of that input. */
const indexInputs: Record<string, string> = {
  GatherV2: 'indices',
  GatherNd: 'indices',
  ScatterNd: 'indices',
  TensorScatterUpdate: 'indices',
  SparseToDense: 'sparseIndices',
}

/** Kernels that give an input without values a meaning of its own: no weights. */
const takesEmpty = new Set(['Bincount', 'DenseBincount'])

/** Attributes as text. JSON alone would make NaN, Infinity and −Infinity one and the same. */
function attributesKey(attrs: tf.NamedAttrMap | undefined): string {
  return JSON.stringify(attrs, (_, value: unknown) => (typeof value === 'number' && !Number.isFinite(value) ? String(value) : value))
}

const arrayTypes = { float32: Float32Array, float64: Float64Array, int32: Int32Array, bool: Uint8Array } as const

/** Values in the array their type wants: the cpu backend casts without touching the array, so that float32 may come as an Int32Array. */
export function valuesAs(values: unknown, type: ElementType): ArrayBufferView {
  const wanted = arrayTypes[type as keyof typeof arrayTypes]
  return values instanceof wanted ? values : wanted.from(values as ArrayLike<number>)
}

/** Whether a tensor is a variable, whose values are read when a function runs. */
export function isVariable(tensor: tf.TensorInfo): tensor is tf.Variable {
  return tensor instanceof tf.Variable
}

function describeInputs(inputs: tf.NamedTensorInfoMap): string {
  const parts = Object.entries(inputs).map(([name, tensor]) =>
    tensor === undefined ? `${name}: none` : `${name}: ${tensor.dtype} [${tensor.shape.join(', ')}]`,
  )
  return parts.join('; ') || 'no inputs'
}

function makeContext(kernel: string, g: Graph, values: Record<string, AnyValue>, attrs: tf.NamedAttrMap | undefined): LoweringContext {
  const any = (name: string): AnyValue => {
    const value = values[name]
    if (value === undefined) throw backendError(`backend onnx: kernel ${kernel} misses its input '${name}'`)
    return value
  }
  const real = (value: AnyValue, name: string): Value => {
    if (isComplex(value)) throw backendError(`backend onnx: kernel ${kernel} does not take the complex input '${name}'`)
    return value
  }
  return {
    g,
    attrs: attrs ?? {},
    any,
    input: (name) => real(any(name), name),
    optional: (name) => (values[name] === undefined ? undefined : real(values[name], name)),
    list: () => Object.entries(values).map(([name, value]) => real(value, name)),
    anyList: () => Object.values(values),
  }
}

/** Builds the session of one kernel for given shapes. */
function buildEager(kernel: string, inputs: [string, tf.TensorInfo][], attrs: tf.NamedAttrMap | undefined): EagerKernel {
  const lowering = loweringOf(kernel)
  if (lowering === undefined) throw backendError(`backend onnx: kernel ${kernel} has no lowering`)
  const g = createGraph()
  const names: string[] = []
  const add = (dtype: tf.DataType, shape: number[]): Value => {
    const value = g.input({ shape, type: elementTypeOf(dtype, 'float32') })
    names.push(value.name)
    return value
  }
  const values = Object.fromEntries(
    inputs.map(([name, { dtype, shape }]): [string, AnyValue] => [
      name,
      dtype === 'complex64' ? { real: add('float32', shape), imag: add('float32', shape) } : add(dtype, shape),
    ]),
  )
  const lowered = lowering(makeContext(kernel, g, values, attrs))
  const flat: Value[] = []
  const result = (value: Value): string => {
    // Equal results are one value in the graph, and an output needs a name of its own.
    const output = flat.includes(value) ? g.copy(value) : finalOutput(g, value)
    flat.push(output)
    return output.name
  }
  const outputs = (Array.isArray(lowered) ? lowered : [lowered]).map((value): EagerOutput => {
    if (!isComplex(value)) return { names: [result(value)], shape: value.shape, dtype: dtypeOf(value.type) }
    return { names: [result(value.real), result(value.imag)], shape: value.real.shape, dtype: dtypeOf(value.real.type) }
  })
  const model = encodeModel(g.build(kernel, flat))
  try {
    const session = createSession(
      model,
      outputs.flatMap(({ names: parts }) => [...parts]),
      {
        graphOptimizationLevel: 'disabled',
        intraOpNumThreads: threadsFor(g),
        // Hundreds of sessions are kept, each would hold on to the memory of its largest result. Speed is the same.
        enableCpuMemArena: false,
      },
    )
    return { session, inputNames: names, outputs }
  } catch (error) {
    throw backendError(
      `backend onnx: kernel ${kernel} could not be built for ${describeInputs(Object.fromEntries(inputs))}: ${(error as Error).message}`,
    )
  }
}

/** An output of a graph must be made by a node of its own: inputs and constants pass through an Identity. */
export function finalOutput(g: Graph, value: Value): Value {
  return value.producer === undefined ? g.copy(value) : value
}

let threadLimit = 0

/** Threads a native session may use; by default all cores. */
export function setThreads(count: number): void {
  threadLimit = count
}

export function threads(): number {
  return threadLimit > 0 ? threadLimit : defaultThreads()
}

let cores = 0
function defaultThreads(): number {
  if (cores === 0) {
    const os = process.getBuiltinModule('node:os')
    cores = os.availableParallelism()
  }
  return cores
}

/** Work (floating-point operations) from which a second thread pays: about a millisecond. */
const parallelWork = 2e7

/** Work of a node, on average, below which handing half of it over costs more than it saves. */
const sharedWork = 3e4

export function threadsFor({ facts }: Graph): number {
  const isSmall = facts.work < parallelWork || facts.work < sharedWork * facts.executions
  return facts.singleThread || isSmall ? 1 : threads()
}
