import { open, readFile, rename, unlink } from 'node:fs/promises'
import { createHash } from 'node:crypto'
import { basename, dirname, join } from 'node:path'
import { DataError } from '../errors'

/** SHA-256 by OpenSSL, a dozen times faster than the portable one. */
export function nativeSha256(...parts: Uint8Array[]): string {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return hash.digest('hex')
}

/**
 * The error for a failed file operation.
 *
 * @param what - 'read', 'write' …
 */
export function fileError(error: unknown, what: string, path: string, remedy: string): DataError {
  const { code, message } = error as NodeJS.ErrnoException
  const reason = code === 'ENOENT' ? 'there is no such file or folder' : message
  return new DataError(`cannot ${what} ${path}: ${reason}. ${remedy}`, { cause: error })
}

/**
 * The bytes of a file.
 *
 * @throws DataError when it is missing or unreadable
 */
export async function readBytes(path: string): Promise<Uint8Array> {
  try {
    return await readFile(path)
  } catch (error) {
    throw fileError(error, 'read', path, 'Check the path and its permissions.')
  }
}

/** Ends the names of files that are being written. */
export const temporarySuffix = '.tmp'

/** Tells apart the temporary files of one process. */
let written = 0

async function syncFolder(folder: string): Promise<void> {
  // Windows cannot open folders; there the rename itself is all that can be done.
  if (process.platform === 'win32') return
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/**
 * Writes a file so that after a crash either the old or the new one is there, whole: to a temporary file in the same folder,
 * flushed to disk, renamed, folder flushed.
 *
 * @throws DataError when the folder is missing or full, or may not be written
 */
export async function writeAtomically(path: string, bytes: Uint8Array): Promise<void> {
  const folder = dirname(path)
  const temporary = join(folder, `.${basename(path)}.${process.pid}-${written++}${temporarySuffix}`)
  try {
    const handle = await open(temporary, 'wx')
    try {
      await handle.writeFile(bytes)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(temporary, path)
    await syncFolder(folder)
  } catch (error) {
    await unlink(temporary).catch(() => {})
    throw fileError(error, 'write', path, 'Check that the folder exists, may be written and has room.')
  }
}
