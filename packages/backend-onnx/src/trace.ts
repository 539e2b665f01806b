import * as tf from '@tensorflow/tfjs-core'
import {
  elementTypeOf,
  dtypeOf,
  finalOutput,
  isVariable,
  threadsFor,
  type HostRead,
  type OnnxBackend,
  type Tracer,
  valuesAs,
} from './backend'
import { backendError, tracingError } from './errors'
import { createGraph, sizeOf, type ConstantData, type Graph, type Value } from './graph'
import { concat, filled, reshape, split } from './emit'
import type { AnyValue } from './lowering'
import { createSession, nativeTensor, type NativeTensor } from './native'
import { encodeModel } from './proto'

/** Shape and dtype of an argument of a traced function. */
export interface TensorSpec {
  shape: readonly number[]
  dtype: 'float32' | 'int32' | 'bool'
}

/** Options of {@link trace}. */
export interface TraceOptions {
  name?: string
  /** Compute floats in double precision. */
  precision?: 'float32' | 'float64'
  /** Threads of a run; default by the amount of work. */
  threads?: number
}

/** A function turned into one native call. */
export interface Traced {
  /** Runs it. The caller owns the results. */
  run(inputs: readonly tf.Tensor[]): tf.Tensor[]
  dispose(): void
  /** Nodes in the graph, threads of the session, milliseconds that tracing and loading took. */
  readonly facts: { nodes: number; threads: number; traceMs: number; loadMs: number; work: number }
}

/** The onnx backend, once it is registered. @throws BackendError when it is not in use */
export function onnxBackend(): OnnxBackend {
  const backend = tf.findBackend('onnx') as OnnxBackend | null
  if (backend === null || !('tracers' in backend))
    throw backendError("the backend 'onnx' is not registered: import '@bpf/backend-onnx' first")
  return backend
}

/** Whether a function is being traced right now. */
export function isTracing(): boolean {
  const backend = tf.findBackend('onnx') as OnnxBackend | null
  return backend !== null && 'tracers' in backend && backend.tracers.length > 0
}

/** A hidden input of a traced function: read anew at each run. */
interface HiddenInput {
  value: Value
  read: () => ArrayBufferView
}

/**
 * A tracer for one graph: captured tensors become constants, captured variables inputs that are read at each call.
 */
export function makeTracer(backend: OnnxBackend, graph: Graph, hidden: HiddenInput[]): Tracer {
  const captured = new Map<tf.Variable, Value>()
  const byData = new Map<object, Map<string, AnyValue>>()
  const tracer: Tracer = {
    graph,
    firstTensor: (tf.engine() as unknown as { nextTensorId(): number }).nextTensorId(),
    kept: [],
    hostInput(spec, read) {
      const value = graph.input(spec, 'host')
      hidden.push({ value, read: () => inFloat(read([]), graph.float) })
      return value
    },
    capture(tensor) {
      if (isVariable(tensor)) {
        const found = captured.get(tensor)
        if (found !== undefined) return found
        const value = graph.input({ shape: tensor.shape, type: elementTypeOf(tensor.dtype, graph.float) }, 'variable')
        hidden.push({ value, read: () => inputValues(backend, tensor, graph.float) })
        captured.set(tensor, value)
        return value
      }
      // Reshaped and cast tensors share their data with the original: shape and dtype are part of what is captured.
      const views = byData.get(tensor.dataId) ?? new Map<string, AnyValue>()
      byData.set(tensor.dataId, views)
      const view = `${tensor.dtype}[${tensor.shape.join()}]`
      const found = views.get(view)
      if (found !== undefined) return found
      const value = constantOf(backend, graph, tensor)
      views.set(view, value)
      return value
    },
  }
  return tracer
}

function constantOf(backend: OnnxBackend, graph: Graph, tensor: tf.TensorInfo): AnyValue {
  const { complexTensorInfos } = backend.entry(tensor.dataId)
  if (complexTensorInfos !== undefined) {
    // The parts know the shape of the last tensor that was made of them, which may be another one.
    const { shape } = tensor
    return {
      real: constantOf(backend, graph, { ...complexTensorInfos.real, shape }) as Value,
      imag: constantOf(backend, graph, { ...complexTensorInfos.imag, shape }) as Value,
    }
  }
  const data = inputValues(backend, tensor, graph.float) as ConstantData
  const type = elementTypeOf(tensor.dtype, graph.float)
  if (data.length > 16 && isUniform(data)) return filled(graph, Number(data[0]), tensor.shape, type)
  return graph.constant(data, tensor.shape, type)
}

function isUniform(data: ConstantData): boolean {
  const first = data[0]
  for (let i = 1; i < data.length; i++) if (data[i] !== first) return false
  return true
}

function inFloat(values: ReturnType<HostRead>, float: 'float32' | 'float64'): ArrayBufferView {
  if (float === 'float64' && values instanceof Float32Array) return Float64Array.from(values)
  if (float === 'float32' && values instanceof Float64Array) return Float32Array.from(values)
  return values
}

/** The values of a concrete tensor in the type the graph wants. */
function inputValues(backend: OnnxBackend, tensor: tf.TensorInfo, float: 'float32' | 'float64'): ArrayBufferView {
  const { values, symbolic } = backend.entry(tensor.dataId)
  if (symbolic !== undefined) throw tracingError('a compiled function was called with a symbolic tensor of another trace')
  return valuesAs(values, elementTypeOf(tensor.dtype, float))
}

const single = Float32Array

/**
 * Stands in for Float32Array while a function is traced in double precision. TensorFlow.js turns every number it meets
 * (`tf.mul(x, 0.1)`) into a Float32Array, which would round the constant to single precision before the graph sees it.
 */
class DoubleInPlaceOfSingle extends Float64Array {
  static override [Symbol.hasInstance](value: unknown): boolean {
    return value instanceof Float64Array || value instanceof single
  }
}

function withConstantsIn<T>(float: 'float32' | 'float64', fn: () => T): T {
  if (float === 'float32') return fn()
  // Bodies of loops are traced inside: what follows them is still in double precision.
  const before = globalThis.Float32Array
  globalThis.Float32Array = DoubleInPlaceOfSingle as unknown as Float32ArrayConstructor
  // TensorFlow.js asks its platform which arrays hold numbers; in Node that knows no Float64Array.
  const { platform } = tf.env()
  const isTypedArray = platform.isTypedArray.bind(platform)
  platform.isTypedArray = (value): value is Float32Array => (value as unknown) instanceof Float64Array || isTypedArray(value)
  try {
    return fn()
  } finally {
    globalThis.Float32Array = before
    platform.isTypedArray = isTypedArray
  }
}

/** Runs `fn` with a tracer in place; tensors made inside are freed, the outputs' values returned. */
export function traceInto<T>(backend: OnnxBackend, tracer: Tracer, fn: () => T): T {
  backend.tracers.push(tracer)
  tf.engine().startScope('trace')
  try {
    return withConstantsIn(tracer.graph.float, fn)
  } finally {
    tf.engine().endScope()
    backend.tracers.pop()
  }
}

/** A tensor standing for a value of the graph. */
export function symbolicTensor(backend: OnnxBackend, value: AnyValue): tf.Tensor {
  return tf.engine().makeTensorFromTensorInfo(backend.makeSymbolic(value))
}

/**
 * Keeps a tensor made during the trace until the trace ends, whatever scope it was made in: a backward pass that runs
 * a loop body again needs what the body closes over. Tensors that were there before the trace are their owner's.
 */
export function keepUntilTraced(tensor: tf.Tensor): void {
  const backend = onnxBackend()
  const [outermost] = backend.tracers
  if (outermost === undefined || tensor.isDisposed || tensor.kept || tensor.id < outermost.firstTensor) return
  tf.keep(tensor)
  outermost.kept.push(tensor)
}

/** A tensor that `read` gives anew at each run of the function being traced. */
export function hostInput(spec: TensorSpec, read: HostRead): tf.Tensor {
  const backend = onnxBackend()
  const { tracer } = backend
  if (tracer === undefined) throw tracingError('hostInput exists only inside a function that is being traced')
  return symbolicTensor(backend, tracer.hostInput({ shape: spec.shape, type: elementTypeOf(spec.dtype, tracer.graph.float) }, read))
}

/** A tensor in double precision: its values are read as a Float64Array, and functions compiled in double take them exactly. */
export function float64Tensor(values: Float64Array, shape: readonly number[]): tf.Tensor {
  const backend = onnxBackend()
  return tf.engine().makeTensorFromTensorInfo(backend.makeTensorInfo([...shape], 'float32', values as unknown as Float32Array))
}

/** Float tensors up to this size are worth packing: a run costs 2.5 µs per input and 3.5 µs per output. */
const packedSize = 1024
/** From this many small tensors on. */
const packedCount = 8

/** Indices of the small float tensors among some, when there are enough of them to pack. */
function packable(specs: readonly { shape: readonly number[]; float: boolean }[]): number[] {
  const small = specs.flatMap(({ shape, float }, i) => (float && sizeOf(shape) <= packedSize && sizeOf(shape) > 0 ? [i] : []))
  return small.length >= packedCount ? small : []
}

/** The inputs of a function; many small ones arrive as one vector that is split inside. */
function addInputs(
  graph: Graph,
  specs: readonly TensorSpec[],
): {
  values: Value[]
  feed: (feeds: Record<string, NativeTensor>, read: (index: number) => ArrayBufferView) => void
} {
  const packed = packable(specs.map(({ shape, dtype }) => ({ shape, float: dtype === 'float32' })))
  const values: Value[] = []
  const single = specs.flatMap((_, i) => (packed.includes(i) ? [] : [i]))
  for (const i of single) values[i] = graph.input({ shape: specs[i].shape, type: elementTypeOf(specs[i].dtype, graph.float) })
  const sizes = packed.map((i) => sizeOf(specs[i].shape))
  const total = sizes.reduce((sum, size) => sum + size, 0)
  const vector = packed.length === 0 ? undefined : graph.input({ shape: [total], type: graph.float }, 'packed')
  if (vector !== undefined) {
    const parts = split(graph, vector, 0, sizes)
    for (const [n, i] of packed.entries()) values[i] = reshape(graph, parts[n], specs[i].shape)
  }
  return {
    values,
    feed(feeds, read) {
      for (const i of single) feeds[values[i].name] = nativeTensor(values[i].type, read(i), values[i].shape)
      if (vector === undefined) return
      const parts = packed.map(read)
      feeds[vector.name] = nativeTensor(vector.type, contiguous(parts, total) ?? joined(parts, total, graph.float), vector.shape)
    },
  }
}

/** Parts that lie one after the other in one buffer, as packed outputs of an earlier call do, as one view of it. */
function contiguous(parts: readonly ArrayBufferView[], total: number): ArrayBufferView | undefined {
  const first = parts[0] as Float32Array
  let end = first.byteOffset
  for (const part of parts) {
    if (part.buffer !== first.buffer || part.byteOffset !== end) return undefined
    end += part.byteLength
  }
  return new (first.constructor as Float32ArrayConstructor)(first.buffer as ArrayBuffer, first.byteOffset, total)
}

function joined(parts: readonly ArrayBufferView[], total: number, float: 'float32' | 'float64'): ArrayBufferView {
  const buffer = float === 'float64' ? new Float64Array(total) : new Float32Array(total)
  let offset = 0
  for (const part of parts) {
    buffer.set(part as Float32Array, offset)
    offset += (part as Float32Array).length
  }
  return buffer
}

/** The outputs of a function; many small ones leave as one vector, of which each tensor then has its part. */
function packOutputs(
  graph: Graph,
  outputs: readonly Value[],
): { values: Value[]; read: (results: Record<string, NativeTensor>) => ArrayBufferView[] } {
  const packed = packable(outputs.map(({ shape, type }) => ({ shape, float: type === graph.float })))
  if (packed.length === 0) {
    return { values: [...outputs], read: (results) => outputs.map(({ name }) => results[name].data) }
  }
  const single = outputs.filter((_, i) => !packed.includes(i))
  const vector = concat(
    graph,
    packed.map((i) => reshape(graph, outputs[i], [sizeOf(outputs[i].shape)])),
    0,
  )
  const offsets = new Map<number, number>()
  let total = 0
  for (const i of packed) {
    offsets.set(i, total)
    total += sizeOf(outputs[i].shape)
  }
  return {
    values: [...single, vector],
    read(results) {
      const all = results[vector.name].data as Float32Array
      return outputs.map(({ name, shape }, i) => {
        const offset = offsets.get(i)
        return offset === undefined ? results[name].data : all.subarray(offset, offset + sizeOf(shape))
      })
    },
  }
}

/**
 * Traces a function of tensors into one ONNX graph.
 *
 * @param fn - pure; gets symbolic tensors of the given specs
 * @throws TracingError where the function reads a value or uses an operation that cannot be compiled
 */
export function trace(fn: (...inputs: tf.Tensor[]) => tf.Tensor[], specs: readonly TensorSpec[], options: TraceOptions = {}): Traced {
  const backend = onnxBackend()
  const started = performance.now()
  const graph = createGraph(options.precision ?? 'float32')
  const hidden: HiddenInput[] = []
  const inputs = addInputs(graph, specs)
  const tracer = makeTracer(backend, graph, hidden)
  const outputs = traceInto(backend, tracer, () => {
    const results = fn(...inputs.values.map((value) => symbolicTensor(backend, value)))
    const seen = new Set<Value>()
    return results.map((tensor) => {
      const value = finalOutput(graph, backend.graphValue(tensor, tracer) as Value)
      const output = seen.has(value) ? graph.copy(value) : value
      seen.add(output)
      return output
    })
  })
  for (const tensor of tracer.kept) tensor.dispose()
  const traced = performance.now()
  const packed = packOutputs(graph, outputs)
  const model = encodeModel(graph.build(options.name ?? 'function', packed.values))
  const threads = options.threads ?? threadsFor(graph)
  const session = createSession(
    model,
    packed.values.map(({ name }) => name),
    { graphOptimizationLevel: graph.facts.gates ? 'extended' : 'basic', intraOpNumThreads: threads, keepLayout: graph.facts.convolves },
  )
  const loaded = performance.now()

  const outputInfos = outputs.map(({ shape, type }) => ({ shape: [...shape], dtype: dtypeOf(type) }))
  return {
    run(tensors) {
      const feeds: Record<string, NativeTensor> = {}
      inputs.feed(feeds, (i) => inputValues(backend, tensors[i], graph.float))
      for (const { value, read } of hidden) feeds[value.name] = nativeTensor(value.type, read(), value.shape)
      const results = packed.read(session.run(feeds))
      return outputInfos.map(({ shape, dtype }, i) =>
        tf.engine().makeTensorFromTensorInfo(backend.makeTensorInfo(shape, dtype, results[i] as tf.BackendValues)),
      )
    },
    dispose: () => session.dispose(),
    facts: { nodes: graph.facts.nodes, threads, traceMs: traced - started, loadMs: loaded - traced, work: graph.facts.work },
  }
}
