/** Marks errors as this family's, so that `@bpf/core`'s `isBpfError` recognises them without this package depending on core. */
const marker = Symbol.for('@bpf/error')

function named(name: 'BackendError' | 'TracingError' | 'ShapeError' | 'OptionError', message: string): Error {
  const error = new Error(message)
  return Object.assign(error, { name, [marker]: true })
}

export function backendError(message: string): Error {
  return named('BackendError', message)
}

/** An error about a symbolic value, with the line of the user's program that met it. */
export function tracingError(message: string): Error {
  return named('TracingError', `${message}${userLine()}`)
}

export function optionError(message: string): Error {
  return named('OptionError', message)
}

const ours = /node_modules|backend-onnx[\\/](src|dist)|packages[\\/]core[\\/](src|dist)|node:internal|<anonymous>/

/** Where the caller outside TensorFlow.js and this library stands, or nothing. */
function userLine(): string {
  const frames = (new Error().stack ?? '').split('\n').slice(1)
  const frame = frames.find((line) => /[\\/]|file:/.test(line) && !ours.test(line)) ?? frames.find((line) => /\.test\.ts/.test(line))
  const place = frame?.match(/\(?((?:file:\/\/)?[^()\s]+:\d+:\d+)\)?$/)?.[1]
  return place === undefined ? '' : ` (at ${place})`
}
