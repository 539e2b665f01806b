import protobuf from 'protobufjs/minimal.js'

/**
 * Writes the part of the ONNX schema (onnx.proto3, IR version 10) that graphs need, with protobufjs as the encoder.
 * Field numbers are those of the published schema.
 */

/** Element types of ONNX tensors, by their number in `TensorProto.DataType`. */
export const elementTypes = { float32: 1, uint8: 2, int8: 3, int32: 6, int64: 7, bool: 9, float64: 11, uint32: 12 } as const

/** Element type of a value in a graph. */
export type ElementType = keyof typeof elementTypes

/** An attribute of a node: exactly one kind. */
export type Attribute =
  | { int: number | bigint }
  | { float: number }
  | { string: string }
  | { ints: readonly number[] }
  | { floats: readonly number[] }
  | { graph: GraphProto }

/** A node: an operator applied to named values. */
export interface NodeProto {
  op: string
  inputs: readonly string[]
  outputs: readonly string[]
  attributes: Readonly<Record<string, Attribute>>
  domain?: string
}

/** A named value with type and shape; without a shape the rank is left open, a string is a symbolic dimension. */
export interface ValueProto {
  name: string
  type: ElementType
  shape?: readonly (number | string)[]
}

/** A constant, as raw little-endian bytes. */
export interface TensorProto {
  name: string
  type: ElementType
  shape: readonly number[]
  bytes: Uint8Array
}

/** A graph: nodes in topological order. */
export interface GraphProto {
  name: string
  nodes: readonly NodeProto[]
  inputs: readonly ValueProto[]
  outputs: readonly ValueProto[]
  initializers: readonly TensorProto[]
}

/** The opset all graphs use. One recent opset: the inputs of the reduce operators moved between versions. */
export const opset = 21
const irVersion = 10

type Writer = protobuf.Writer
const lengthDelimited = 2

function tag(field: number, wireType: number): number {
  return (field << 3) | wireType
}

function message(writer: Writer, field: number, write: (writer: Writer) => void): void {
  writer.uint32(tag(field, lengthDelimited)).fork()
  write(writer)
  writer.ldelim()
}

function text(writer: Writer, field: number, value: string): void {
  writer.uint32(tag(field, lengthDelimited)).string(value)
}

function integer(writer: Writer, field: number, value: number | bigint): void {
  writer.uint32(tag(field, 0))
  if (typeof value === 'bigint') writer.int64(value as unknown as number)
  else writer.int64(value)
}

function writeAttribute(writer: Writer, name: string, attribute: Attribute): void {
  text(writer, 1, name)
  if ('int' in attribute) {
    integer(writer, 3, attribute.int)
    integer(writer, 20, 2)
  } else if ('float' in attribute) {
    writer.uint32(tag(2, 5)).float(attribute.float)
    integer(writer, 20, 1)
  } else if ('string' in attribute) {
    text(writer, 4, attribute.string)
    integer(writer, 20, 3)
  } else if ('ints' in attribute) {
    for (const value of attribute.ints) integer(writer, 8, value)
    integer(writer, 20, 7)
  } else if ('floats' in attribute) {
    for (const value of attribute.floats) writer.uint32(tag(7, 5)).float(value)
    integer(writer, 20, 6)
  } else {
    message(writer, 6, (inner) => writeGraph(inner, attribute.graph))
    integer(writer, 20, 5)
  }
}

function writeNode(writer: Writer, node: NodeProto): void {
  for (const input of node.inputs) text(writer, 1, input)
  for (const output of node.outputs) text(writer, 2, output)
  text(writer, 4, node.op)
  for (const [name, attribute] of Object.entries(node.attributes)) message(writer, 5, (inner) => writeAttribute(inner, name, attribute))
  if (node.domain !== undefined) text(writer, 7, node.domain)
}

function writeTensor(writer: Writer, tensor: TensorProto): void {
  for (const size of tensor.shape) integer(writer, 1, size)
  integer(writer, 2, elementTypes[tensor.type])
  text(writer, 8, tensor.name)
  writer.uint32(tag(9, lengthDelimited)).bytes(tensor.bytes)
}

function writeValue(writer: Writer, value: ValueProto): void {
  text(writer, 1, value.name)
  message(writer, 2, (type) =>
    message(type, 1, (tensor) => {
      integer(tensor, 1, elementTypes[value.type])
      const { shape } = value
      if (shape === undefined) return
      message(tensor, 2, (dims) => {
        for (const size of shape) {
          message(dims, 1, (dim) => (typeof size === 'string' ? text(dim, 2, size) : integer(dim, 1, size)))
        }
      })
    }),
  )
}

function writeGraph(writer: Writer, graph: GraphProto): void {
  for (const node of graph.nodes) message(writer, 1, (inner) => writeNode(inner, node))
  text(writer, 2, graph.name)
  for (const tensor of graph.initializers) message(writer, 5, (inner) => writeTensor(inner, tensor))
  for (const value of graph.inputs) message(writer, 11, (inner) => writeValue(inner, value))
  for (const value of graph.outputs) message(writer, 12, (inner) => writeValue(inner, value))
}

/** A whole model file (`.onnx`) of a graph. */
export function encodeModel(graph: GraphProto): Uint8Array {
  const writer = protobuf.Writer.create()
  integer(writer, 1, irVersion)
  text(writer, 2, '@bpf/backend-onnx')
  message(writer, 7, (inner) => writeGraph(inner, graph))
  message(writer, 8, (inner) => {
    text(inner, 1, '')
    integer(inner, 2, opset)
  })
  return writer.finish()
}
