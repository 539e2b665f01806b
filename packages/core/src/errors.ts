import './identity'

/**
 * Errors of every @bpf package. They are recognised by a `Symbol.for` marker, not by `instanceof`,
 * so that an error from another copy of the library (a worker, a bundle) is still recognised.
 */
const marker = Symbol.for('@bpf/error')

/** Kinds of {@link BpfError}, one per subclass. */
export type ErrorKind = 'BpfError' | 'ShapeError' | 'OptionError' | 'DataError' | 'BackendError' | 'TracingError'

/** Any error this library raises on purpose. The message says what was wrong, what came, and what to do. */
export class BpfError extends Error {
  override readonly name: ErrorKind = 'BpfError'
  readonly [marker] = true
}

/** A tensor or array has another shape than the operation needs. */
export class ShapeError extends BpfError {
  override readonly name = 'ShapeError'
}

/** An option or argument has a value outside its range, or a combination that makes no sense. */
export class OptionError extends BpfError {
  override readonly name = 'OptionError'
}

/** Data (a file, labels, features) is malformed. */
export class DataError extends BpfError {
  override readonly name = 'DataError'
}

/** The tensor backend is missing or cannot do what was asked. */
export class BackendError extends BpfError {
  override readonly name = 'BackendError'
}

/** A compiled function did something with a symbolic tensor that cannot be traced. */
export class TracingError extends BpfError {
  override readonly name = 'TracingError'
}

/**
 * Whether `error` was raised on purpose by this library, whichever copy raised it.
 *
 * @param error - anything caught
 * @param kind - ask for one kind only
 */
export function isBpfError(error: unknown, kind?: ErrorKind): error is BpfError {
  if (typeof error !== 'object' || error === null || !(marker in error)) return false
  return kind === undefined || (error as BpfError).name === kind
}
