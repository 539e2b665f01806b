import type { Graph, Value } from './graph'

/** A complex value: two real ones. */
export interface ComplexValue {
  readonly real: Value
  readonly imag: Value
}

export type AnyValue = Value | ComplexValue

export function isComplex(value: AnyValue): value is ComplexValue {
  return 'imag' in value
}

/** What a lowering works with. */
export interface LoweringContext {
  g: Graph
  /** A named input; fails when it is missing or complex. */
  input(name: string): Value
  /** A named input that may be missing. */
  optional(name: string): Value | undefined
  /** A named input that may be complex. */
  any(name: string): AnyValue
  /** All inputs in order, for kernels that take a list. */
  list(): Value[]
  /** The same, where some may be complex. */
  anyList(): AnyValue[]
  /** The kernel's attributes, as TensorFlow.js gives them. */
  attrs: Record<string, unknown>
}

/** Turns one TensorFlow.js kernel into ONNX nodes; shapes are static. Gives one value, or the list of outputs. */
export type Lowering = (context: LoweringContext) => AnyValue | AnyValue[]

const table = new Map<string, Lowering>()

/** Adds lowerings by kernel name. */
export function defineLowerings(entries: Record<string, Lowering>): void {
  for (const [kernel, lowering] of Object.entries(entries)) table.set(kernel, lowering)
}

export function loweringOf(kernel: string): Lowering | undefined {
  return table.get(kernel)
}

/** Names of all kernels with a lowering. */
export function loweredKernels(): string[] {
  return [...table.keys()]
}
