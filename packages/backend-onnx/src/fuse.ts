import type { GraphNode, Value } from './graph'
import type { NodeProto } from './proto'

/** A node as the builder keeps it, with the names it will have in the file. */
export type NamedNode = NodeProto & GraphNode

/** The vector of one value per channel that `offset` is a view of, where it is added to all channels of [n, c, …spatial]. */
function channelVector(offset: Value, sum: Value): Value | undefined {
  const [source] = offset.producer?.op === 'Reshape' ? offset.producer.inputs : []
  const channels = sum.shape[1]
  const isPerChannel = offset.shape.length === sum.shape.length && offset.shape.every((size, i) => size === (i === 1 ? channels : 1))
  return isPerChannel && source?.shape.length === 1 ? source : undefined
}

/**
 * A bias that is added to a convolution nobody else reads becomes part of it: one pass over the result less.
 *
 * @param nodes - those that the outputs need, in order
 * @param isRead - whether a value is read by something else than these nodes: an output, or the body of a loop
 */
export function fuseBiases(nodes: readonly NamedNode[], isRead: (value: Value) => boolean): NamedNode[] {
  const readers = new Map<Value, number>()
  for (const { uses } of nodes) for (const value of uses) readers.set(value, (readers.get(value) ?? 0) + 1)
  const convolutions = new Map(nodes.flatMap((node) => (node.op === 'Conv' && node.uses.length === 2 ? [[node.values[0], node]] : [])))
  const fused = new Set<NamedNode>()
  const replaced = nodes.map((node) => {
    if (node.op !== 'Add') return node
    for (const [x, offset] of [node.uses, [...node.uses].reverse()]) {
      const convolution = convolutions.get(x)
      if (convolution === undefined || readers.get(x) !== 1 || isRead(x)) continue
      const bias = channelVector(offset, x)
      if (bias === undefined) continue
      fused.add(convolution)
      return {
        ...convolution,
        inputs: [...convolution.inputs, bias.name],
        uses: [...convolution.uses, bias],
        outputs: node.outputs,
        values: node.values,
      }
    }
    return node
  })
  return replaced.filter((node) => !fused.has(node))
}

/** The argument of 1/(1 + exp(−x)), which a value is; undefined where it is something else. */
function sigmoidArgument(value: Value): Value | undefined {
  const isOne = ({ constant }: Value): boolean => constant?.length === 1 && Number(constant[0]) === 1
  const inputsOf = (made: Value | undefined, op: string): readonly Value[] => (made?.producer?.op === op ? made.producer.inputs : [])
  const [numerator, denominator] = inputsOf(value, 'Div')
  if (numerator === undefined || !isOne(numerator)) return undefined
  const terms = inputsOf(denominator, 'Add')
  if (!terms.some(isOne)) return undefined
  return inputsOf(
    inputsOf(
      terms.find((term) => !isOne(term)),
      'Exp',
    )[0],
    'Neg',
  )[0]
}

/**
 * x · 1/(1 + exp(−x)) becomes x · Sigmoid(x), which ONNX Runtime then does in one pass (QuickGelu). Its Sigmoid has an error of
 * 6e-8 whatever the value: too much for a sigmoid on its own, a rounding of x in the product.
 *
 * @param nodes - those that the outputs need, in order
 * @param isRead - whether a value is read by something else than these nodes
 */
export function fuseSilu(nodes: readonly NamedNode[], isRead: (value: Value) => boolean): { nodes: NamedNode[]; found: boolean } {
  const readers = new Map<Value, NamedNode[]>()
  for (const node of nodes) for (const value of node.uses) readers.set(value, [...(readers.get(value) ?? []), node])
  let found = false
  const replaced = nodes.map((node): NamedNode => {
    const [sigmoid] = node.values
    if (node.op !== 'Div' || sigmoid.type !== 'float32' || isRead(sigmoid)) return node
    const x = sigmoidArgument(sigmoid)
    if (x === undefined || !(readers.get(sigmoid) ?? []).every(({ op, uses }) => op === 'Mul' && uses.includes(x))) return node
    found = true
    return { ...node, op: 'Sigmoid', inputs: [x.name], uses: [x] }
  })
  return { nodes: replaced, found }
}
