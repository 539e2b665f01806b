import * as tf from '@tensorflow/tfjs-core'
import { elementTypeOf, finalOutput, type Tracer } from './backend'
import { withDynamicBatch, withoutUnusedConstants } from './dynamic-batch'
import { backendError, optionError } from './errors'
import { createGraph, type Value } from './graph'
import { createSession, nativeTensor, type NativeMetadata, type NativeTensor } from './native'
import { elementTypes, encodeModel, type ElementType, type GraphProto } from './proto'
import { makeTracer, onnxBackend, symbolicTensor, traceInto, type TensorSpec } from './trace'

/** Options of {@link exportOnnx}. */
export interface ExportOptions {
  /** Names of the inputs in the file. Default `input_0`, `input_1` … */
  inputNames?: readonly string[]
  /** Names of the outputs in the file. Default `output_0`, `output_1` … */
  outputNames?: readonly string[]
  /** Whether the first axis of every input may have any length, called `batch` in the file. Default false. */
  dynamicBatch?: boolean
  /** Name of the graph. Default 'function'. */
  name?: string
}

/**
 * Writes a function of tensors as an ONNX model (opset 21), for any ONNX runtime. Captured tensors and variables, such as
 * trained parameters, become constants of the file with their values of now.
 *
 * @param fn - pure and traceable; gets one tensor per entry of `sample`
 * @param sample - tensors, or their shapes and dtypes; values don't matter
 * @returns the bytes of an `.onnx` file
 * @throws BackendError when the backend in use is not `onnx`
 * @throws TracingError where the function reads a value or uses an operation that cannot be compiled
 * @throws OptionError when names don't fit, when the function draws random numbers, or when with `dynamicBatch` an
 *   operation depends on the batch size in a way the file cannot express; the message names the operation
 */
export function exportOnnx(
  fn: (...inputs: tf.Tensor[]) => tf.Tensor | readonly tf.Tensor[],
  sample: readonly (tf.Tensor | TensorSpec)[],
  options: ExportOptions = {},
): Uint8Array {
  if (tf.getBackend() !== 'onnx')
    throw backendError(`exportOnnx: needs the backend 'onnx', in use is '${tf.getBackend()}': call tf.setBackend('onnx') first`)
  const { dynamicBatch = false, name = 'function' } = options
  const specs = sample.map(({ shape, dtype }, i): TensorSpec => {
    if (dtype === 'float32' || dtype === 'int32' || dtype === 'bool') return { shape, dtype }
    throw optionError(`exportOnnx: sample ${i}: expected a float32, int32 or bool tensor, got ${dtype}`)
  })
  const graph = dynamicBatch ? dynamicGraph(fn, specs, name) : traceGraph(fn, specs, name)
  const named = rename(
    graph,
    namesFor('inputNames', 'input', options.inputNames, graph.inputs.length),
    namesFor('outputNames', 'output', options.outputNames, graph.outputs.length),
  )
  return encodeModel(withoutUnusedConstants(named))
}

function traceGraph(
  fn: (...inputs: tf.Tensor[]) => tf.Tensor | readonly tf.Tensor[],
  specs: readonly TensorSpec[],
  name: string,
): GraphProto {
  const backend = onnxBackend()
  const graph = createGraph()
  const inputs = specs.map(({ shape, dtype }) => graph.input({ shape, type: elementTypeOf(dtype, 'float32') }))
  const inner = makeTracer(backend, graph, [])
  const tracer: Tracer = {
    ...inner,
    // A variable without its class is a tensor like any other: its values of now.
    capture: ({ dataId, shape, dtype }) => inner.capture({ dataId, shape, dtype }),
    hostInput() {
      throw optionError(
        'exportOnnx: the function draws random numbers from a key, which a file cannot do; draw them outside and pass them as an input',
      )
    },
  }
  const outputs = traceInto(backend, tracer, () => {
    const result = fn(...inputs.map((value) => symbolicTensor(backend, value)))
    const seen = new Set<Value>()
    return (result instanceof tf.Tensor ? [result] : result).map((tensor) => {
      const value = backend.graphValue(tensor, tracer)
      if ('imag' in value) throw optionError('exportOnnx: an output is complex; return its real and imaginary part')
      const own = finalOutput(graph, value)
      const output = seen.has(own) ? graph.copy(own) : own
      seen.add(output)
      return output
    })
  })
  for (const tensor of tracer.kept) tensor.dispose()
  return graph.build(name, outputs)
}

/** Primes: no other axis has these sizes, and they are too large for what is done only to small tensors. */
const probedBatches = [1009, 1511, 2003] as const

function dynamicGraph(
  fn: (...inputs: tf.Tensor[]) => tf.Tensor | readonly tf.Tensor[],
  specs: readonly TensorSpec[],
  name: string,
): GraphProto {
  const batches = specs.map(({ shape }) => shape[0])
  if (specs.length === 0 || batches.some((size) => size === undefined || size !== batches[0])) {
    throw optionError(
      `exportOnnx: dynamicBatch needs inputs whose first axis is the batch, of one length; got shapes ${specs.map(({ shape }) => `[${shape.join(', ')}]`).join(', ') || 'none'}`,
    )
  }
  const [a, b, c] = probedBatches.map((batch) => ({
    batch,
    graph: traceGraph(
      fn,
      specs.map(({ shape, dtype }) => ({ shape: [batch, ...shape.slice(1)], dtype })),
      name,
    ),
  }))
  return withDynamicBatch([a, b, c])
}

function namesFor(option: string, prefix: string, given: readonly string[] | undefined, count: number): readonly string[] {
  const names = given ?? Array.from({ length: count }, (_, i) => `${prefix}_${i}`)
  if (names.length !== count) throw optionError(`exportOnnx: ${option}: expected ${count} names, got ${names.length}: ${names.join(', ')}`)
  if (names.some((name) => name === '') || new Set(names).size < count)
    throw optionError(`exportOnnx: ${option}: expected different names, got '${names.join("', '")}'`)
  return names
}

/** Gives inputs and outputs their names; a name inside that is the same as one of them gives way. */
function rename(graph: GraphProto, inputNames: readonly string[], outputNames: readonly string[]): GraphProto {
  const reserved = new Set([...inputNames, ...outputNames])
  if (reserved.size < inputNames.length + outputNames.length) {
    throw optionError(
      `exportOnnx: an input and an output have the same name: ${inputNames.filter((name) => outputNames.includes(name)).join(', ')}`,
    )
  }
  const given = new Map([
    ...graph.inputs.map(({ name }, i) => [name, inputNames[i]] as const),
    ...graph.outputs.map(({ name }, i) => [name, outputNames[i]] as const),
  ])
  const renamed = (name: string): string => given.get(name) ?? (reserved.has(name) ? `/${name}` : name)
  const apply = (part: GraphProto): GraphProto => ({
    name: part.name,
    nodes: part.nodes.map((node) => ({
      ...node,
      inputs: node.inputs.map(renamed),
      outputs: node.outputs.map(renamed),
      attributes: Object.fromEntries(
        Object.entries(node.attributes).map(([name, value]) => [name, 'graph' in value ? { graph: apply(value.graph) } : value]),
      ),
    })),
    inputs: part.inputs.map((value) => ({ ...value, name: renamed(value.name) })),
    outputs: part.outputs.map((value) => ({ ...value, name: renamed(value.name) })),
    initializers: part.initializers.map((tensor) => ({ ...tensor, name: renamed(tensor.name) })),
  })
  return apply(graph)
}

/** An input or output of a model file. */
export interface OnnxPort {
  readonly name: string
  /** Element type by its ONNX name: float32, int64 … */
  readonly type: ElementType
  /** A string is a symbolic axis; undefined where the file leaves the rank open. */
  readonly shape: readonly (number | string)[]
}

/** A model file as a function. */
export interface OnnxFunction {
  /** Runs the model on one tensor per input, in the order of `inputs`. The caller owns the results, in the order of `outputs`. */
  (...inputs: tf.Tensor[]): tf.Tensor[]
  readonly inputs: readonly OnnxPort[]
  readonly outputs: readonly OnnxPort[]
  /** Frees the native session. */
  dispose(): void
}

/** Options of {@link loadOnnx}. */
export interface LoadOptions {
  /** Threads of a run. Default 1. */
  threads?: number
}

/**
 * Opens an ONNX model as a function over tensors, with any TensorFlow.js backend in use. It is not differentiable.
 * TensorFlow.js has float32, int32 and bool: other floats come out as float32, other integers as int32.
 *
 * @param bytes - the content of an `.onnx` file
 * @throws BackendError when ONNX Runtime cannot load it, or an input or output has an element type that is not supported
 */
export function loadOnnx(bytes: Uint8Array, { threads = 1 }: LoadOptions = {}): OnnxFunction {
  const session = openSession(bytes, threads)
  const inputs = session.inputs.map((metadata) => portOf(metadata, 'input'))
  const outputs = session.outputs.map((metadata) => portOf(metadata, 'output'))
  const run = (...tensors: tf.Tensor[]): tf.Tensor[] => {
    if (tensors.length !== inputs.length) {
      throw optionError(`loadOnnx: expected ${inputs.length} inputs (${inputs.map(({ name }) => name).join(', ')}), got ${tensors.length}`)
    }
    const feeds = Object.fromEntries(inputs.map((port, i): [string, NativeTensor] => [port.name, feed(port, tensors[i])]))
    const results = session.run(feeds)
    return outputs.map(({ name }) => tensorOf(results[name]))
  }
  return Object.assign(run, { inputs, outputs, dispose: () => session.dispose() })
}

function openSession(bytes: Uint8Array, threads: number) {
  try {
    return createSession(bytes, undefined, { graphOptimizationLevel: 'all', intraOpNumThreads: threads })
  } catch (error) {
    throw backendError(`loadOnnx: the model cannot be loaded: ${(error as Error).message.split('\n')[0]}`)
  }
}

const typeNames = new Map<number, ElementType>(Object.entries(elementTypes).map(([name, number]) => [number, name as ElementType]))

function portOf({ name, isTensor, type, shape, symbolicDimensions }: NativeMetadata, kind: string): OnnxPort {
  const known = isTensor ? typeNames.get(type) : undefined
  if (known === undefined)
    throw backendError(
      `loadOnnx: ${kind} '${name}' has ${isTensor ? `the ONNX element type ${type}` : 'a value that is no tensor'}, which is not supported`,
    )
  return { name, type: known, shape: shape.map((size, axis) => (size >= 0 ? size : symbolicDimensions[axis] || '?')) }
}

function feed({ name, type, shape }: OnnxPort, tensor: tf.Tensor): NativeTensor {
  const fits = tensor.rank === shape.length && shape.every((size, axis) => typeof size === 'string' || size === tensor.shape[axis])
  const wantsFloat = type === 'float32' || type === 'float64'
  if (!fits || wantsFloat !== (tensor.dtype === 'float32') || (type === 'bool') !== (tensor.dtype === 'bool')) {
    throw optionError(`loadOnnx: input '${name}': expected ${type} [${shape.join(', ')}], got ${tensor.dtype} [${tensor.shape.join(', ')}]`)
  }
  return nativeTensor(type, valuesIn(type, tensor.dataSync<'float32'>()), tensor.shape)
}

/** Values in the memory layout of an element type. */
function valuesIn(type: ElementType, values: ArrayLike<number> & ArrayBufferView): ArrayBufferView {
  switch (type) {
    case 'float32':
      return values instanceof Float32Array ? values : Float32Array.from(values)
    case 'float64':
      return values instanceof Float64Array ? values : Float64Array.from(values)
    case 'int32':
      return values
    case 'int64':
      return BigInt64Array.from(Array.from(values, BigInt))
    case 'uint32':
      return Uint32Array.from(values)
    case 'int8':
      return Int8Array.from(values)
    case 'bool':
    case 'uint8':
      return Uint8Array.from(values)
  }
}

function tensorOf({ type, data, dims }: NativeTensor): tf.Tensor {
  const shape = [...dims]
  if (type === 'bool') return tf.tensor(data as Uint8Array, shape, 'bool')
  if (type === 'float32' || type === 'float64') return tf.tensor(Float32Array.from(data as Float32Array), shape, 'float32')
  const integers = type === 'int64' ? Int32Array.from(data as unknown as ArrayLike<bigint>, Number) : Int32Array.from(data as Int32Array)
  return tf.tensor(integers, shape, 'int32')
}
