import type * as tf from '@tensorflow/tfjs-core'
import { elementTypeOf } from './backend'
import { isSum } from './emit'
import { createGraph, sizeOf, type Graph, type GraphNode, type Value } from './graph'
import { makeTracer, onnxBackend, symbolicTensor, traceInto, type TensorSpec } from './trace'

/** What a function costs, from its trace: nothing is run. */
export interface Account {
  /** Multiply-adds of matrix products and convolutions. Loops count every step, a choice its dearer branch. */
  multiplyAdds: number
  /** Largest number of bytes of intermediate and output tensors alive at once, each freed after its last use. */
  peakBytes: number
  /** Number of operations by ONNX operator; those of a loop body count once. */
  operations: Record<string, number>
}

const bytesOf: Record<Value['type'], number> = { float32: 4, float64: 8, int32: 4, uint32: 4, int64: 8, bool: 1, uint8: 1, int8: 1 }

/** Operators whose result is a view of their input: no memory of its own. */
const views = new Set(['Reshape', 'Identity', 'Unsqueeze', 'Squeeze'])

function bytes(value: Value): number {
  return sizeOf(value.shape) * bytesOf[value.type]
}

/** Multiply-adds of one node. */
function nodeMultiplyAdds({ op, uses, values }: GraphNode): number {
  const out = sizeOf(values[0].shape)
  switch (op) {
    case 'MatMul':
      if (isSum(values[0])) return 0
      return out * (uses[0].shape[uses[0].shape.length - 1] ?? 1)
    case 'Gemm':
      // [m, k] × [k, n] whatever is transposed: |a| = m k and |b| = k n give (m k · k n · m n)^½.
      return Math.round(Math.sqrt(sizeOf(uses[0].shape) * sizeOf(uses[1].shape) * out))
    case 'Conv':
      return (out * sizeOf(uses[1].shape)) / (uses[1].shape[0] || 1)
    case 'ConvTranspose':
      return (sizeOf(uses[0].shape) * sizeOf(uses[1].shape)) / (uses[1].shape[0] || 1)
    case 'Einsum':
      return Math.max(out, ...uses.map((value) => sizeOf(value.shape)))
    default:
      return 0
  }
}

function multiplyAdds(graph: Graph, needed: ReadonlySet<GraphNode>): number {
  return graph.nodes().reduce((sum, node) => {
    if (!needed.has(node)) return sum
    const inner = (node.bodies?.graphs ?? []).map((body) => multiplyAdds(body, new Set(body.nodes())))
    return sum + nodeMultiplyAdds(node) + (node.bodies?.times ?? 1) * Math.max(0, ...inner)
  }, 0)
}

/** The nodes that the outputs need. */
function neededNodes(graph: Graph, outputs: readonly Value[]): Set<GraphNode> {
  const wanted = new Set<Value>(outputs)
  const needed = new Set<GraphNode>()
  for (const node of [...graph.nodes()].reverse()) {
    if (!node.values.some((value) => wanted.has(value))) continue
    needed.add(node)
    for (const value of [...node.uses, ...usedInside(node)]) wanted.add(value)
  }
  return needed
}

function usedInside(node: GraphNode): Value[] {
  return (node.bodies?.graphs ?? []).flatMap((body) => body.nodes().flatMap((inner) => [...inner.uses, ...usedInside(inner)]))
}

/** Peak of live bytes when the nodes run in the order of making and each value is freed after its last use. */
function peakBytes(graph: Graph, needed: ReadonlySet<GraphNode>, outputs: readonly Value[]): number {
  const nodes = graph.nodes().filter((node) => needed.has(node))
  // A view keeps what it looks at alive.
  const owner = new Map<Value, Value>()
  const ownerOf = (value: Value): Value => owner.get(value) ?? value
  for (const node of nodes) if (views.has(node.op)) owner.set(node.values[0], ownerOf(node.uses[0]))

  const lastUse = new Map<Value, number>()
  for (const [at, node] of nodes.entries()) for (const value of [...node.uses, ...usedInside(node)]) lastUse.set(ownerOf(value), at)
  for (const value of outputs) lastUse.set(ownerOf(value), nodes.length)

  const freed = new Map<number, Value[]>()
  for (const [value, at] of lastUse) freed.set(at, [...(freed.get(at) ?? []), value])
  const alive = new Set<Value>()
  let live = 0
  let peak = 0
  for (const [at, node] of nodes.entries()) {
    if (!views.has(node.op)) {
      for (const value of node.values) {
        if (!lastUse.has(value)) continue
        alive.add(value)
        live += bytes(value)
      }
    }
    const inside = Math.max(0, ...(node.bodies?.graphs ?? []).map((body) => peakBytes(body, new Set(body.nodes()), [])))
    peak = Math.max(peak, live + inside)
    for (const value of freed.get(at) ?? []) if (alive.delete(value)) live -= bytes(value)
  }
  return peak
}

/**
 * What a function of tensors costs, from its trace.
 *
 * @param fn - pure, as for `trace`
 * @throws TracingError where it cannot be traced
 */
export function account(fn: (...inputs: tf.Tensor[]) => tf.Tensor[], specs: readonly TensorSpec[]): Account {
  const backend = onnxBackend()
  const graph = createGraph()
  const inputs = specs.map((spec) => graph.input({ shape: spec.shape, type: elementTypeOf(spec.dtype, graph.float) }))
  const tracer = makeTracer(backend, graph, [])
  const outputs = traceInto(backend, tracer, () =>
    fn(...inputs.map((value) => symbolicTensor(backend, value))).map((tensor) => backend.graphValue(tensor, tracer) as Value),
  )
  for (const tensor of tracer.kept) tensor.dispose()
  const needed = neededNodes(graph, outputs)
  const operations: Record<string, number> = {}
  const count = (nodes: Iterable<GraphNode>): void => {
    for (const node of nodes) {
      operations[node.op] = (operations[node.op] ?? 0) + 1
      for (const body of node.bodies?.graphs ?? []) count(body.nodes())
    }
  }
  count(needed)
  return { multiplyAdds: multiplyAdds(graph, needed), peakBytes: peakBytes(graph, needed, outputs), operations }
}
