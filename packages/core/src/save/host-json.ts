import { DataError, OptionError } from '../errors'
import { copyItems, hostIsLittleEndian, swapBytes } from '../data/malformed'
import type { Json } from '../learner'

/** Keys that could reach a prototype when a record is rebuilt; neither written nor read. */
const forbiddenKeys = new Set(['__proto__', 'constructor', 'prototype'])

/** Whether a record key is refused in saved trees and host state. */
export function isForbiddenKey(key: string): boolean {
  return forbiddenKeys.has(key)
}

/** Trees and host state nested deeper than this are refused: a cycle when written, an attack on the stack when read. */
export const deepest = 500

/** Marks what JSON cannot hold; a user's own keys that start with '$' get one '$' more. */
const float64Key = '$float64'
const numberKey = '$number'

/** String.fromCharCode takes its bytes as arguments: few enough at a time for the stack. */
const chunkSize = 0x8000

function toBase64(values: Float64Array): string {
  const bytes = new Uint8Array(values.slice().buffer)
  if (!hostIsLittleEndian) swapBytes(bytes, 8)
  let text = ''
  for (let i = 0; i < bytes.length; i += chunkSize) text += String.fromCharCode(...bytes.subarray(i, i + chunkSize))
  return btoa(text)
}

function fromBase64(text: unknown, where: string): Float64Array {
  if (typeof text !== 'string') throw new DataError(`${where}: expected base64 text, got ${typeof text}`)
  let binary: string
  try {
    binary = atob(text)
  } catch (error) {
    throw new DataError(`${where}: expected base64 text`, { cause: error })
  }
  if (binary.length % 8 !== 0) throw new DataError(`${where}: expected a multiple of 8 bytes, got ${binary.length}`)
  const bytes = Uint8Array.from(binary, (character) => character.charCodeAt(0))
  return new Float64Array(copyItems(bytes, 0, bytes.length / 8, 8, true))
}

function encode(value: unknown, path: string, depth = 0): unknown {
  if (depth > deepest) throw new OptionError(`serialize: host state is nested more than ${deepest} deep; does it hold itself?`)
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return value
  if (typeof value === 'number') {
    return Number.isFinite(value) && !Object.is(value, -0) ? value : { [numberKey]: Object.is(value, -0) ? '-0' : String(value) }
  }
  if (value instanceof Float64Array) return { [float64Key]: toBase64(value) }
  if (Array.isArray(value)) return value.map((item, i) => encode(item, `${path}/${i}`, depth + 1))
  const prototype: unknown = typeof value === 'object' ? Object.getPrototypeOf(value) : undefined
  if (prototype !== Object.prototype && prototype !== null) {
    const got = typeof value === 'object' ? `an object of class ${value?.constructor?.name ?? 'unknown'}` : typeof value
    throw new OptionError(`serialize: host state at '${path || '/'}' is ${got}; expected JSON values or Float64Array`)
  }
  return Object.fromEntries(
    Object.entries(value as object).map(([key, item]) => {
      if (isForbiddenKey(key))
        throw new OptionError(`serialize: host state at '${path || '/'}' has the key '${key}', which is not allowed; rename it`)
      return [key.startsWith('$') ? `$${key}` : key, encode(item, `${path}/${key}`, depth + 1)]
    }),
  )
}

function decode(value: unknown, where: string, depth = 0): Json {
  if (depth > deepest) throw new DataError(`${where}: nested more than ${deepest} deep`)
  if (Array.isArray(value)) return value.map((item) => decode(item, where, depth + 1))
  if (typeof value !== 'object' || value === null) return value as Json
  const entries = Object.entries(value)
  if (entries.length === 1) {
    const [key, content] = entries[0] as [string, unknown]
    if (key === float64Key) return fromBase64(content, where)
    if (key === numberKey) return Number(content)
  }
  return Object.fromEntries(
    entries.map(([key, item]) => {
      if (isForbiddenKey(key)) throw new DataError(`${where}: the key '${key}' is not allowed`)
      return [key.startsWith('$') ? key.slice(1) : key, decode(item, where, depth + 1)]
    }),
  )
}

/**
 * Host state as JSON text; Float64Array, NaN, infinities and −0 survive.
 *
 * @throws OptionError for anything else than {@link Json}
 */
export function stringifyHost(value: Json): string {
  return JSON.stringify(encode(value, ''))
}

/**
 * Host state from the text of {@link stringifyHost}.
 *
 * @param where - names the text in errors
 * @throws DataError for what {@link stringifyHost} does not write
 */
export function parseHost(text: string, where: string): Json {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new DataError(`${where}: expected JSON`, { cause: error })
  }
  return decode(value, where)
}
