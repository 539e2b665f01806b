import { optionError } from './errors'
import type { Attribute, ElementType, GraphProto, NodeProto, TensorProto, ValueProto } from './proto'

/**
 * Makes the first axis of every input symbolic. Traced graphs have static shapes, so the same function is traced with
 * three batch sizes and the graphs are compared node by node: what differs must be a constant of integers (the shape of
 * a Reshape, the end of a Slice …) that is affine in the batch size, and is then computed from it. The first two sizes
 * fix the affine map, the third one checks it.
 */

/** The same graph, traced with one batch size. */
export interface SizedGraph {
  batch: number
  graph: GraphProto
}

type Triple<T> = readonly [T, T, T]

/** Where a name comes from. */
type Definition =
  | { kind: 'input'; owner: string; index: number }
  | { kind: 'constant'; tensor: TensorProto }
  | { kind: 'node'; node: NodeProto; index: number }

function definitionsOf(graph: GraphProto, owner: string, found = new Map<string, Definition>()): Map<string, Definition> {
  for (const [index, { name }] of graph.inputs.entries()) found.set(name, { kind: 'input', owner, index })
  for (const tensor of graph.initializers) found.set(tensor.name, { kind: 'constant', tensor })
  for (const [position, node] of graph.nodes.entries()) {
    for (const [index, name] of node.outputs.entries()) found.set(name, { kind: 'node', node, index })
    for (const [attribute, value] of Object.entries(node.attributes)) {
      if ('graph' in value) definitionsOf(value.graph, `${owner}/${position}/${attribute}`, found)
    }
  }
  return found
}

function refuse(op: string, what: string): Error {
  return optionError(
    `exportOnnx: dynamicBatch: ${what} of the operation ${op} depends on the batch size in a way that cannot be computed from it. Export with dynamicBatch: false, or compute it without the batch size`,
  )
}

/** The values of an integer tensor, or of a float one. */
function numbersOf({ type, bytes }: TensorProto): number[] | undefined {
  const { buffer, byteOffset } = bytes.slice()
  switch (type) {
    case 'int64':
      return Array.from(new BigInt64Array(buffer, byteOffset), Number)
    case 'int32':
      return Array.from(new Int32Array(buffer, byteOffset))
    case 'float32':
      return Array.from(new Float32Array(buffer, byteOffset))
    default:
      return undefined
  }
}

function sameBytes(a: TensorProto, b: TensorProto): boolean {
  return Buffer.compare(a.bytes, b.bytes) === 0
}

function sameNumbers(a: readonly unknown[], b: readonly unknown[]): boolean {
  return a.length === b.length && a.every((value, i) => value === b[i])
}

/** slope · batch + intercept, entry by entry, or one over it. */
interface Affine {
  slope: number[]
  intercept: number[]
  reciprocal: boolean
  type: ElementType
  shape: readonly number[]
}

function affineOf(tensors: Triple<TensorProto>, batches: Triple<number>): Affine | undefined {
  const [{ type, shape }, b, c] = tensors
  if (!sameNumbers(shape, b.shape) || !sameNumbers(shape, c.shape)) return undefined
  const values = tensors.map(numbersOf)
  if (values.some((list) => list === undefined)) return undefined
  const known = values as unknown as Triple<number[]>
  const direct = fitAffine(known, batches)
  if (direct !== undefined || type !== 'float32') return direct && { ...direct, reciprocal: false, type, shape }
  // A mean multiplies by one over the count.
  const inverses = known.map((list) => list.map((value) => Math.round(1 / value)))
  if (!inverses.every((list, i) => list.every((count, j) => Math.fround(1 / count) === known[i][j]))) return undefined
  const inverse = fitAffine(inverses as unknown as Triple<number[]>, batches)
  return inverse && { ...inverse, reciprocal: true, type, shape }
}

function fitAffine([atA, atB, atC]: Triple<number[]>, batches: Triple<number>): { slope: number[]; intercept: number[] } | undefined {
  const slope = atA.map((value, i) => (atB[i] - value) / (batches[1] - batches[0]))
  const intercept = atA.map((value, i) => value - slope[i] * batches[0])
  const fits = slope.every((s, i) => Number.isInteger(s) && Number.isInteger(intercept[i]) && s * batches[2] + intercept[i] === atC[i])
  return fits ? { slope, intercept } : undefined
}

/** A dimension that depends on the batch: `batch` itself, else a name of its own. */
function dimension(sizes: Triple<number>, batches: Triple<number>, name: string): number | string {
  if (sizes.every((size) => size === sizes[0])) return sizes[0]
  return sizes.every((size, i) => size === batches[i]) ? 'batch' : name
}

function symbolicValue(values: Triple<ValueProto>, batches: Triple<number>): ValueProto {
  const shapes = values.map(({ shape }) => shape as readonly number[])
  const shape = shapes[0].map((size, axis) => dimension([size, shapes[1][axis], shapes[2][axis]], batches, `${values[0].name}_${axis}`))
  return { ...values[0], shape }
}

/** Builds the part of the graph that computes shapes from the batch size. */
function makeShapes(batchInput: string) {
  const nodes: NodeProto[] = []
  const initializers: TensorProto[] = []
  const known = new Map<string, string>()
  const size = 'batch_size'
  const node = (op: string, inputs: string[], output: string, attributes: Record<string, Attribute> = {}): string => {
    nodes.push({ op, inputs, outputs: [output], attributes })
    return output
  }
  const integers = (name: string, values: readonly number[]): string => {
    initializers.push({ name, type: 'int64', shape: [values.length], bytes: new Uint8Array(BigInt64Array.from(values, BigInt).buffer) })
    return name
  }
  const typeNumbers: Partial<Record<ElementType, number>> = { int32: 6, float32: 1 }

  return {
    nodes,
    initializers,
    /** The name of the value of an affine map at the batch size of the run. */
    value(map: Affine): string {
      const key = JSON.stringify(map)
      const found = known.get(key)
      if (found !== undefined) return found
      if (nodes.length === 0) node('Shape', [batchInput], size, { start: { int: 0 }, end: { int: 1 } })
      const name = `batch_shape_${known.size}`
      let value = node('Mul', [size, integers(`${name}_slope`, map.slope)], `${name}_scaled`)
      value = node('Add', [value, integers(`${name}_intercept`, map.intercept)], `${name}_flat`)
      const to = typeNumbers[map.type]
      if (to !== undefined) value = node('Cast', [value], `${name}_cast`, { to: { int: to } })
      if (map.reciprocal) value = node('Reciprocal', [value], `${name}_reciprocal`)
      if (map.shape.length !== 1) value = node('Reshape', [value, integers(`${name}_dims`, map.shape)], `${name}_shaped`)
      known.set(key, value)
      return value
    },
    /** A constant vector of integers. */
    constant(values: readonly number[]): string {
      const key = `constant ${values.join()}`
      const name = known.get(key) ?? integers(`batch_dims_${known.size}`, values)
      known.set(key, name)
      return name
    },
  }
}

/**
 * One graph for every batch size.
 *
 * @param sized - the same function traced with three batch sizes, each a size no other axis has
 * @throws OptionError naming the operation whose dependence on the batch size cannot be expressed
 */
export function withDynamicBatch(sized: Triple<SizedGraph>): GraphProto {
  const batches = sized.map(({ batch }) => batch) as unknown as Triple<number>
  const graphs = sized.map(({ graph }) => graph) as unknown as Triple<GraphProto>
  const definitions = graphs.map((graph) => definitionsOf(graph, ''))
  const shapes = makeShapes(graphs[0].inputs[0].name)
  const paired = new Map<string, string>()

  /** The name that node `op` is to read at one of its inputs. */
  function input(names: Triple<string>, op: string, place: string): string {
    if (names.every((name) => name === '')) return ''
    const [a, b, c] = names.map((name, i) => definitions[i].get(name))
    if (a?.kind === 'constant' && b?.kind === 'constant' && c?.kind === 'constant') {
      return constant([a.tensor, b.tensor, c.tensor], op, place)
    }
    const partners = `${names[1]} ${names[2]}`
    if ((paired.get(names[0]) ?? partners) !== partners) throw refuse(op, place)
    paired.set(names[0], partners)
    const others = [b, c]
    const agrees =
      a?.kind === 'input'
        ? others.every((other) => other?.kind === 'input' && other.owner === a.owner && other.index === a.index)
        : a?.kind === 'node' && others.every((other) => other?.kind === 'node' && other.index === a.index && other.node.op === a.node.op)
    if (!agrees) throw refuse(op, place)
    return names[0]
  }

  function constant(tensors: Triple<TensorProto>, op: string, place: string): string {
    const [a, b, c] = tensors
    if (sameNumbers(a.shape, b.shape) && sameNumbers(a.shape, c.shape) && sameBytes(a, b) && sameBytes(a, c)) return a.name
    const map = affineOf(tensors, batches)
    if (map === undefined) throw refuse(op, place)
    const moving = map.slope.flatMap((slope, i) => (slope === 0 ? [] : [i]))
    // A Reshape works out one axis by itself, and tools that infer shapes follow it more easily.
    if (op === 'Reshape' && moving.length === 1 && !map.intercept.some((size, i) => size === 0 && !moving.includes(i))) {
      return shapes.constant(map.intercept.map((size, i) => (moving.includes(i) ? -1 : size)))
    }
    return shapes.value(map)
  }

  function attribute(values: Triple<Attribute | undefined>, op: string, name: string): Attribute {
    const [a, b, c] = values
    if (a === undefined || b === undefined || c === undefined) throw refuse(op, `the attribute ${name}`)
    if ('graph' in a && 'graph' in b && 'graph' in c) return { graph: body([a.graph, b.graph, c.graph], op) }
    const text = (value: Attribute): string =>
      JSON.stringify(Object.values(value), (_, item: unknown) => (typeof item === 'bigint' ? String(item) : item))
    if (text(a) !== text(b) || text(a) !== text(c)) throw refuse(op, `the attribute ${name}`)
    return a
  }

  function rewrite(nodes: Triple<NodeProto>): NodeProto {
    const [a, b, c] = nodes
    const { op } = a
    const alike = b.op === op && c.op === op && a.inputs.length === b.inputs.length && a.inputs.length === c.inputs.length
    if (!alike) throw refuse(op, 'the kind')
    const inputs = a.inputs.map((name, i) => input([name, b.inputs[i], c.inputs[i]], op, `input ${i}`))
    const names = new Set(nodes.flatMap((node) => Object.keys(node.attributes)))
    const attributes = Object.fromEntries(
      [...names].map((name) => [name, attribute([a.attributes[name], b.attributes[name], c.attributes[name]], op, name)]),
    )
    return { ...a, inputs, attributes }
  }

  function body(parts: Triple<GraphProto>, op: string): GraphProto {
    const [a, b, c] = parts
    if (a.nodes.length !== b.nodes.length || a.nodes.length !== c.nodes.length) {
      throw optionError('exportOnnx: dynamicBatch: the function does other work for another batch size. Export with dynamicBatch: false')
    }
    const values = (of: (graph: GraphProto) => readonly ValueProto[]): ValueProto[] =>
      of(a).map((value, i) => symbolicValue([value, of(b)[i], of(c)[i]], batches))
    for (const [i, { name }] of a.outputs.entries()) input([name, b.outputs[i].name, c.outputs[i].name], op, `output ${i}`)
    return {
      name: a.name,
      nodes: a.nodes.map((node, i) => rewrite([node, b.nodes[i], c.nodes[i]])),
      inputs: values((graph) => graph.inputs),
      outputs: values((graph) => graph.outputs),
      initializers: a.initializers,
    }
  }

  const whole = body(graphs, graphs[0].name)
  return { ...whole, nodes: [...shapes.nodes, ...whole.nodes], initializers: [...shapes.initializers, ...whole.initializers] }
}

/** Lets go of constants that nothing reads, in bodies too. */
export function withoutUnusedConstants(graph: GraphProto): GraphProto {
  const used = new Set(namesRead(graph))
  const prune = (part: GraphProto): GraphProto => ({
    ...part,
    initializers: part.initializers.filter(({ name }) => used.has(name)),
    nodes: part.nodes.map((node) => ({
      ...node,
      attributes: Object.fromEntries(
        Object.entries(node.attributes).map(([name, value]) => [name, 'graph' in value ? { graph: prune(value.graph) } : value]),
      ),
    })),
  })
  return prune(graph)
}

function namesRead(graph: GraphProto): string[] {
  const inBodies = (node: NodeProto): string[] =>
    Object.values(node.attributes).flatMap((value) => ('graph' in value ? namesRead(value.graph) : []))
  return [...graph.nodes.flatMap((node) => [...node.inputs, ...inBodies(node)]), ...graph.outputs.map(({ name }) => name)]
}
