import type * as tf from '@tensorflow/tfjs-core'
import { elementTypeOf, type HostRead, type OnnxBackend, type Tracer } from './backend'
import { tracingError } from './errors'
import type { Graph, Spec, Value } from './graph'
import type { AnyValue } from './lowering'
import { onnxBackend, symbolicTensor, traceInto } from './trace'
import { cast, scalar } from './emit'

/** What a loop body gives at each step. */
export interface StepResult {
  /** The next carries, of the same shapes and dtypes as the initial ones. */
  carries: tf.Tensor[]
  /** What the step contributes to the stacked outputs. */
  outputs: tf.Tensor[]
}

/** What a graph loop gives. */
export interface LoopResult {
  carries: tf.Tensor[]
  /** One tensor per output, [length, …]. */
  outputs: tf.Tensor[]
  /** The tensors of the surrounding function that the body closes over. */
  closure: tf.Tensor[]
}

/**
 * A tracer for the body of a control-flow node. What it captures becomes part of the graph around it,
 * and is remembered: those are the tensors that the body closes over.
 */
function bodyTracer(outer: Tracer, graph: Graph, closure?: Set<tf.Tensor>, hostInput?: Tracer['hostInput']): Tracer {
  return {
    graph,
    firstTensor: outer.firstTensor,
    kept: outer.kept,
    hostInput: hostInput ?? ((spec, read) => outer.hostInput(spec, read)),
    capture(tensor) {
      closure?.add(tensor as tf.Tensor)
      return outer.capture(tensor)
    },
    used: (tensor, value) => {
      if (closure !== undefined && outer.graph.sees(value)) closure.add(tensor as tf.Tensor)
      outer.used?.(tensor, value)
    },
  }
}

function specOf(tensor: { shape: readonly number[]; dtype: tf.DataType }, graph: Graph): Spec {
  return { shape: tensor.shape, type: elementTypeOf(tensor.dtype, graph.float) }
}

function realValue(backend: OnnxBackend, tensor: tf.Tensor, tracer: Tracer): Value {
  const value: AnyValue = backend.graphValue(tensor, tracer)
  if ('imag' in value)
    throw tracingError('complex tensors cannot be carried through scan, cond or whileLoop: carry their real and imaginary parts')
  return value
}

function currentTracer(backend: OnnxBackend): Tracer {
  const { tracer } = backend
  if (tracer === undefined) throw tracingError('graph loops exist only inside a compiled function')
  return tracer
}

/** A body output must be made in the body: what passes through gets a node of its own. */
function bodyOutput(graph: Graph, value: Value, seen: Set<Value>): Value {
  const own = seen.has(value) || value.producer === undefined || !graph.made(value) ? graph.copy(value) : value
  seen.add(own)
  return own
}

function checkCarries(init: readonly tf.Tensor[], next: readonly tf.Tensor[]): void {
  if (init.length !== next.length) throw tracingError(`scan: the body returned ${next.length} carries, expected ${init.length}`)
  for (const [i, before] of init.entries()) {
    const after = next[i]
    if (before.dtype !== after.dtype || before.shape.join() !== after.shape.join()) {
      throw tracingError(
        `scan: carry ${i} went in as ${before.dtype} [${before.shape.join(', ')}] and came out as ${after.dtype} [${after.shape.join(', ')}]`,
      )
    }
  }
}

/**
 * A loop of fixed length inside the graph being traced: one ONNX Scan.
 *
 * @param body - one step: gets the carries and, of each of `xs`, the slice of this step
 * @param init - the first carries
 * @param xs - per-step inputs [length, …]
 * @param reverse - run from the last step to the first; outputs stay at their step's index
 */
export function graphScan(
  body: (carries: tf.Tensor[], slices: tf.Tensor[]) => StepResult,
  init: readonly tf.Tensor[],
  xs: readonly tf.Tensor[],
  length: number,
  reverse = false,
): LoopResult {
  const backend = onnxBackend()
  const outer = currentTracer(backend)
  const { graph: g } = outer
  const inner = g.subgraph()
  // What the host gives at each step is scanned over like the other inputs.
  const fromHost: Value[] = []
  const closure = new Set<tf.Tensor>()
  const tracer = bodyTracer(outer, inner, closure, (spec, read) => {
    fromHost.push(outer.hostInput({ shape: [length, ...spec.shape], type: spec.type }, (steps) => stackSteps(read, steps, length)))
    return inner.input(spec, 'host')
  })
  const seen = new Set<Value>()
  const before = { ...g.facts }
  const [bodyCarries, bodyOutputs] = traceInto(backend, tracer, () => {
    const carries = init.map((tensor) => symbolicTensor(backend, inner.input(specOf(tensor, inner), 'carry')))
    const slices = xs.map((tensor) => {
      const { shape, type } = specOf(tensor, inner)
      return symbolicTensor(backend, inner.input({ shape: shape.slice(1), type }, 'slice'))
    })
    const step = body(carries, slices)
    checkCarries(init, step.carries)
    const values = (tensors: tf.Tensor[]): Value[] => tensors.map((tensor) => bodyOutput(inner, realValue(backend, tensor, tracer), seen))
    return [values(step.carries), values(step.outputs)]
  })
  for (const fact of ['work', 'executions'] as const) g.facts[fact] = before[fact] + (g.facts[fact] - before[fact]) * length

  const scanned = [...xs.map((tensor) => realValue(backend, tensor, outer)), ...fromHost]
  if (scanned.length === 0) {
    // A Scan needs something to scan over.
    scanned.push(stepIndices(g, length))
    inner.input({ shape: [], type: 'int32' }, 'step')
  }
  const direction = reverse ? 1 : 0
  const outputs = g.ops(
    'Scan',
    [...init.map((tensor) => realValue(backend, tensor, outer)), ...scanned],
    [
      ...bodyCarries.map(({ shape, type }) => ({ shape, type })),
      ...bodyOutputs.map(({ shape, type }) => ({ shape: [length, ...shape], type })),
    ],
    {
      body: { graph: inner.build('scan_body', [...bodyCarries, ...bodyOutputs]) },
      num_scan_inputs: { int: scanned.length },
      scan_input_directions: { ints: scanned.map(() => direction) },
      scan_output_directions: { ints: bodyOutputs.map(() => direction) },
    },
    { graphs: [inner], times: length },
  )
  const tensors = outputs.map((value) => symbolicTensor(backend, value))
  return { carries: tensors.slice(0, init.length), outputs: tensors.slice(init.length), closure: [...closure] }
}

/** What the host gives for all steps of a loop, one after the other. */
function stackSteps(read: HostRead, steps: readonly number[], length: number): ReturnType<HostRead> {
  const first = read([...steps, 0])
  const all = new (first.constructor as new (size: number) => Float32Array)(first.length * length)
  all.set(first as Float32Array)
  for (let i = 1; i < length; i++) all.set(read([...steps, i]) as Float32Array, i * first.length)
  return all
}

function stepIndices(g: Graph, length: number): Value {
  return g.constant(
    Int32Array.from({ length }, (_, i) => i),
    [length],
    'int32',
  )
}

/**
 * A choice between two functions inside the graph being traced: one ONNX If. Only the branch taken is computed.
 *
 * @param condition - bool scalar
 * @param branches - `then` and `else`: give tensors of equal shapes and dtypes
 */
export function graphCond(
  condition: tf.Tensor,
  branches: readonly [() => tf.Tensor[], () => tf.Tensor[]],
): { outputs: tf.Tensor[]; closure: tf.Tensor[] } {
  const closure = new Set<tf.Tensor>()
  const backend = onnxBackend()
  const outer = currentTracer(backend)
  const { graph: g } = outer
  const bodies = branches.map((branch) => {
    const inner = g.subgraph()
    const tracer = bodyTracer(outer, inner, closure)
    const seen = new Set<Value>()
    const values = traceInto(backend, tracer, () => branch().map((tensor) => bodyOutput(inner, realValue(backend, tensor, tracer), seen)))
    return { values, graph: inner.build('branch', values), inner }
  })
  const [yes, no] = bodies
  if (yes.values.length !== no.values.length)
    throw tracingError(`cond: one branch gives ${yes.values.length} tensors, the other ${no.values.length}`)
  for (const [i, a] of yes.values.entries()) {
    const b = no.values[i]
    if (a.type !== b.type || a.shape.join() !== b.shape.join()) {
      throw tracingError(
        `cond: output ${i} is ${a.type} [${a.shape.join(', ')}] in one branch and ${b.type} [${b.shape.join(', ')}] in the other`,
      )
    }
  }
  const outputs = g.ops(
    'If',
    [realValue(backend, condition, outer)],
    yes.values.map(({ shape, type }) => ({ shape, type })),
    {
      then_branch: { graph: yes.graph },
      else_branch: { graph: no.graph },
    },
    { graphs: [yes.inner, no.inner], times: 1 },
  )
  return { outputs: outputs.map((value) => symbolicTensor(backend, value)), closure: [...closure] }
}

/**
 * A loop that runs while a condition holds, inside the graph being traced: one ONNX Loop.
 *
 * @param condition - of the carries: a bool scalar
 * @param body - the next carries
 * @param maxSteps - a bound on the number of steps
 */
export function graphWhile(
  condition: (carries: tf.Tensor[]) => tf.Tensor,
  body: (carries: tf.Tensor[]) => tf.Tensor[],
  init: readonly tf.Tensor[],
  maxSteps: number | undefined,
): tf.Tensor[] {
  const backend = onnxBackend()
  const outer = currentTracer(backend)
  const { graph: g } = outer
  const inner = g.subgraph()
  // What the host gives is the same at every step: a draw that should differ folds its key with a carry.
  const tracer = bodyTracer(outer, inner)
  const seen = new Set<Value>()
  const first = realValue(backend, condition([...init]), outer)
  const outputs = traceInto(backend, tracer, () => {
    inner.input({ shape: [], type: 'int64' }, 'iteration')
    inner.input({ shape: [], type: 'bool' }, 'keep_going')
    const carries = init.map((tensor) => symbolicTensor(backend, inner.input(specOf(tensor, inner), 'carry')))
    const next = body(carries)
    checkCarries(init, next)
    const going = bodyOutput(inner, realValue(backend, condition(next), tracer), seen)
    return [going, ...next.map((tensor) => bodyOutput(inner, realValue(backend, tensor, tracer), seen))]
  })
  const bound = maxSteps === undefined ? undefined : scalar(g, maxSteps, 'int64')
  const results = g.ops(
    'Loop',
    [bound, cast(g, first, 'bool'), ...init.map((tensor) => realValue(backend, tensor, outer))],
    outputs.slice(1).map(({ shape, type }) => ({ shape, type })),
    { body: { graph: inner.build('while_body', outputs) } },
    { graphs: [inner], times: 1 },
  )
  return results.map((value) => symbolicTensor(backend, value))
}
