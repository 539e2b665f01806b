import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { writeWhole } from './results'

/** Results of finished seeds and parts, kept in files so that a stopped run can go on. */
export interface SeedState {
  /** The stored value, if it was made by the same code settings; `compute`d and stored otherwise. */
  keep<T>(name: string, compute: () => Promise<T>): Promise<T>
  /** The stored value, if there is one. */
  stored<T>(name: string): T | undefined
  store(name: string, value: unknown): void
  /** A folder that lives until {@link SeedState.clear}. */
  folder(name: string): string
  clear(): void
}

const arrayTypes = { Float32Array, Float64Array, Int32Array }
type ArrayType = keyof typeof arrayTypes

// JSON has no NaN or infinity, and a diverged run should say so when it is read back. Typed arrays keep their bits.
function encode(_key: string, value: unknown): unknown {
  if (typeof value === 'number' && !Number.isFinite(value)) return { $number: String(value) }
  if (!ArrayBuffer.isView(value)) return value
  return { $array: value.constructor.name, base64: Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64') }
}

function decode(_key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  if ('$number' in value) return Number(value.$number)
  if (!('$array' in value)) return value
  const { $array, base64 } = value as { $array: ArrayType; base64: string }
  // A buffer of its own: Node's pool does not align.
  return new arrayTypes[$array](Uint8Array.from(Buffer.from(base64, 'base64')).buffer)
}

const safeName = (name: string): string => encodeURIComponent(name).replaceAll('*', '%2A')

/**
 * State in a folder of its own.
 *
 * @param folder - made when something is stored
 * @param identity - whatever decides the numbers (settings, seed, backend): a value stored under another identity is not used
 */
export function seedState(folder: string, identity: unknown): SeedState {
  const fingerprint = createHash('sha256').update(JSON.stringify(identity)).digest('hex').slice(0, 16)
  const file = (name: string): string => join(folder, `${safeName(name)}.json`)
  const stored = <T>(name: string): T | undefined => {
    try {
      const content = JSON.parse(readFileSync(file(name), 'utf8'), decode) as { fingerprint: string; value: T }
      return content.fingerprint === fingerprint ? content.value : undefined
    } catch {
      // Absent, or cut short by a crash of the machine: computed again.
      return undefined
    }
  }
  const store = (name: string, value: unknown): void => writeWhole(file(name), JSON.stringify({ fingerprint, value }, encode))
  return {
    stored,
    store,
    async keep<T>(name: string, compute: () => Promise<T>): Promise<T> {
      const before = stored<T>(name)
      if (before !== undefined) return before
      const value = await compute()
      store(name, value)
      return value
    },
    folder(name) {
      const path = join(folder, `${safeName(name)}-${fingerprint}`)
      mkdirSync(path, { recursive: true })
      return path
    },
    clear() {
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
