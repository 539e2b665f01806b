import { fuseBiases, fuseSilu, type NamedNode } from './fuse'
import type { Attribute, ElementType, GraphProto, TensorProto } from './proto'

/** A value in a graph: an input, a constant, or what a node gives. Its shape is known. */
export interface Value {
  readonly name: string
  readonly shape: readonly number[]
  readonly type: ElementType
  /** The values of a small constant, for folding. */
  readonly constant?: ConstantData
  /** What made it, for simplification. */
  readonly producer?: { readonly op: string; readonly inputs: readonly Value[]; readonly attributes: Attributes }
}

export type Attributes = Readonly<Record<string, Attribute>>
export type ConstantData = Float32Array | Float64Array | Int32Array | Uint8Array | BigInt64Array | Uint32Array | Int8Array

/** Shape and type of a value to be. */
export interface Spec {
  shape: readonly number[]
  type: ElementType
}

/** A graph under construction. Equal nodes and equal constants are emitted once. */
export interface Graph {
  /** The type that TensorFlow.js's float32 becomes: double with `precision: 'float64'`. */
  readonly float: 'float32' | 'float64'
  /** Adds an input. */
  input(spec: Spec, hint?: string): Value
  /** A constant; `data` is copied. */
  constant(data: ConstantData, shape: readonly number[], type: ElementType): Value
  /** Adds a node with one output. */
  op(op: string, inputs: readonly (Value | undefined)[], shape: readonly number[], type: ElementType, attributes?: Attributes): Value
  /** Adds a node with several outputs. */
  ops(
    op: string,
    inputs: readonly (Value | undefined)[],
    outputs: readonly Spec[],
    attributes?: Attributes,
    bodies?: GraphNode['bodies'],
  ): Value[]
  /** The same value under a name of its own, whatever else is equal to it. */
  copy(value: Value): Value
  /** A graph for the body of a control-flow node; it sees the values of this one. */
  subgraph(): Graph
  /** The nodes in the order of making. */
  nodes(): readonly GraphNode[]
  /** The finished graph. Values no output needs are left out. */
  build(name: string, outputs: readonly Value[]): GraphProto
  /** Whether a value was made in this graph or one around it (and so may be used here). */
  sees(value: Value): boolean
  /** Whether a value was made in this very graph. */
  made(value: Value): boolean
  /** What a run needs to know: work, operators that need one thread. */
  readonly facts: GraphFacts
}

/** A node as the builder keeps it. */
export interface GraphNode {
  readonly op: string
  /** What it gives. */
  readonly values: readonly Value[]
  /** What it takes. */
  readonly uses: readonly Value[]
  /** The bodies of a control-flow node, and how often they run. */
  readonly bodies?: { readonly graphs: readonly Graph[]; readonly times: number }
}

/** Facts gathered while building. */
export interface GraphFacts {
  /** Estimated floating-point operations of a run. */
  work: number
  /** How many nodes a run executes: those in loops count each time. */
  executions: number
  /** Whether an operator in it loses updates when run on two threads (ScatterND with reduction). */
  singleThread: boolean
  /** Whether it convolves, so that the layout matters. */
  convolves: boolean
  /** Whether it has x · Sigmoid(x), which ONNX Runtime fuses at its level 'extended'. Known once built. */
  gates: boolean
  nodes: number
}

/** Product of sizes. */
export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1)
}

function attributesKey(attributes: Attributes): string | undefined {
  const parts: string[] = []
  for (const [name, attribute] of Object.entries(attributes)) {
    if ('graph' in attribute) return undefined
    parts.push(
      `${name}=${Object.entries(attribute)
        .map(([kind, value]) => `${kind}:${String(value)}`)
        .join()}`,
    )
  }
  return parts.join(';')
}

/** Constants up to this many values are compared by content. */
const comparedConstantSize = 64

interface Root {
  nextName: number
  facts: GraphFacts
}

/** Starts a graph. */
export function createGraph(float: 'float32' | 'float64' = 'float32'): Graph {
  const facts: GraphFacts = { work: 0, executions: 0, singleThread: false, convolves: false, gates: false, nodes: 0 }
  return makeGraph(float, undefined, { nextName: 0, facts })
}

interface InternalGraph extends Graph {
  find(key: string): readonly Value[] | undefined
}

function makeGraph(float: 'float32' | 'float64', parent: InternalGraph | undefined, root: Root): InternalGraph {
  const nodes: NamedNode[] = []
  const inputs: Value[] = []
  const initializers = new Map<string, TensorProto>()
  const known = new Map<string, readonly Value[]>()
  const members = new Set<Value>()
  const newName = (hint: string): string => `${hint}_${root.nextName++}`

  const graph: InternalGraph = {
    float,
    facts: root.facts,
    find: (key) => known.get(key) ?? parent?.find(key),
    made: (value) => members.has(value),
    sees: (value) => members.has(value) || (parent?.sees(value) ?? false),

    input(spec, hint = 'input') {
      const value: Value = { name: newName(hint), shape: [...spec.shape], type: spec.type }
      inputs.push(value)
      members.add(value)
      return value
    },

    constant(data, shape, type) {
      const key =
        data.length <= comparedConstantSize
          ? `const|${type}|${shape.join()}|${Array.from(data as Float32Array)
              .map((v) => (Object.is(v, -0) ? '-0' : String(v)))
              .join()}`
          : undefined
      const found = key === undefined ? undefined : graph.find(key)
      if (found !== undefined) return found[0]
      const copy = data.slice() as ConstantData
      const value: Value = { name: newName('const'), shape: [...shape], type, constant: copy }
      initializers.set(value.name, {
        name: value.name,
        type,
        shape,
        bytes: new Uint8Array(copy.buffer, copy.byteOffset, copy.byteLength),
      })
      if (key !== undefined) known.set(key, [value])
      members.add(value)
      return value
    },

    op: (op, nodeInputs, shape, type, attributes = {}) => graph.ops(op, nodeInputs, [{ shape, type }], attributes)[0],

    copy(value) {
      const copy: Value = {
        name: newName('copy'),
        shape: value.shape,
        type: value.type,
        producer: { op: 'Identity', inputs: [value], attributes: {} },
      }
      nodes.push({ op: 'Identity', inputs: [value.name], outputs: [copy.name], attributes: {}, values: [copy], uses: [value] })
      root.facts.nodes++
      members.add(copy)
      return copy
    },

    nodes: () => nodes,

    ops(op, nodeInputs, outputs, attributes = {}, bodies = undefined) {
      const suffix = attributesKey(attributes)
      const types = outputs.map(({ type }) => type).join()
      const key = suffix === undefined ? undefined : `${op}|${nodeInputs.map((value) => value?.name ?? '').join()}|${suffix}|${types}`
      const found = key === undefined ? undefined : graph.find(key)
      if (found !== undefined) return [...found]
      const given = nodeInputs.filter((value) => value !== undefined)
      const producer = { op, inputs: given, attributes }
      const values = outputs.map((spec): Value => ({ name: newName(op.toLowerCase()), shape: [...spec.shape], type: spec.type, producer }))
      nodes.push({
        op,
        inputs: nodeInputs.map((value) => value?.name ?? ''),
        outputs: values.map(({ name }) => name),
        attributes,
        values,
        uses: given,
        bodies,
      })
      root.facts.nodes++
      root.facts.work += estimateWork(op, given, outputs)
      root.facts.executions++
      if (op === 'Conv' || op === 'ConvTranspose') root.facts.convolves = true
      if (op === 'ScatterND' && 'reduction' in attributes) root.facts.singleThread = true
      if (key !== undefined) known.set(key, values)
      for (const value of values) members.add(value)
      return values
    },

    subgraph: () => makeGraph(float, graph, root),

    build(name, outputs) {
      // Only what the outputs need, in the order of making, which is topological.
      const wanted = new Set(outputs.map((value) => value.name))
      const first = neededNodes(nodes, wanted)
      const isRead = (value: Value): boolean => wanted.has(value.name) || first.inside.has(value.name)
      const gated = fuseSilu(fuseBiases(first.nodes, isRead), isRead)
      if (gated.found) root.facts.gates = true
      const { nodes: left, needed } = neededNodes(gated.nodes, wanted)
      const kept = left.map(({ op, inputs: nodeInputs, outputs: nodeOutputs, attributes, domain }) => ({
        op,
        inputs: nodeInputs,
        outputs: nodeOutputs,
        attributes,
        domain,
      }))
      return {
        name,
        nodes: kept,
        inputs: inputs.map(({ name: inputName, type, shape }) => ({ name: inputName, type, shape })),
        outputs: outputs.map(({ name: outputName, type, shape }) => ({ name: outputName, type, shape })),
        initializers: [...initializers.values()].filter((tensor) => needed.has(tensor.name)),
      }
    },
  }
  return graph
}

/** The nodes that some values need, in order; the names of all that is needed, and of what bodies take from outside. */
function neededNodes(
  nodes: readonly NamedNode[],
  wanted: ReadonlySet<string>,
): { nodes: NamedNode[]; needed: Set<string>; inside: Set<string> } {
  const needed = new Set(wanted)
  const inside = new Set<string>()
  const kept: NamedNode[] = []
  for (let i = nodes.length - 1; i >= 0; i--) {
    const node = nodes[i]
    if (!node.values.some((value) => needed.has(value.name))) continue
    for (const value of node.uses) needed.add(value.name)
    for (const name of namesInBodies(node.attributes)) {
      inside.add(name)
      needed.add(name)
    }
    kept.push(node)
  }
  return { nodes: kept.reverse(), needed, inside }
}

/** Names that the bodies of a control-flow node may take from outside. */
function namesInBodies(attributes: Attributes): string[] {
  return Object.values(attributes).flatMap((attribute) => ('graph' in attribute ? namesUsed(attribute.graph) : []))
}

function namesUsed(graph: GraphProto): string[] {
  return [...graph.nodes.flatMap((node) => [...node.inputs, ...namesInBodies(node.attributes)]), ...graph.outputs.map(({ name }) => name)]
}

const heavy = new Set(['MatMul', 'Gemm', 'Conv', 'ConvTranspose', 'Einsum'])

function estimateWork(op: string, inputs: readonly Value[], outputs: readonly Spec[]): number {
  const out = sizeOf(outputs[0].shape)
  if (!heavy.has(op)) return out
  const a = sizeOf(inputs[0].shape)
  const b = sizeOf(inputs[1].shape)
  if (op === 'MatMul' || op === 'Gemm') return 2 * out * (inputs[0].shape[inputs[0].shape.length - 1] || 1)
  if (op === 'Conv') return (2 * out * b) / (inputs[1].shape[0] || 1)
  if (op === 'ConvTranspose') return (2 * a * b) / (inputs[1].shape[0] || 1)
  return 2 * Math.max(a, b, out)
}
