import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { DataError } from '@bpf/core'
import type { ProgressBar } from '../paper'
import type { IdxFile } from './sets'

const attempts = 4

/** SHA-256 of a file's content, decompressed where it is gzip. @throws DataError for a damaged gzip file */
export function contentHash(path: string): string {
  let bytes: Uint8Array = readFileSync(path)
  if (bytes[0] === 0x1f && bytes[1] === 0x8b) {
    try {
      bytes = gunzipSync(bytes)
    } catch (error) {
      throw new DataError(`${path}: not a whole gzip file (${reasonOf(error)}); delete it and get it again`)
    }
  }
  return createHash('sha256').update(bytes).digest('hex')
}

/** What to tell someone whose machine cannot download. */
function byHand(file: IdxFile, url: string, folder: string): string {
  return `download ${url} elsewhere and put it at ${join(folder, file.file)}`
}

function reasonOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
  const code = typeof cause === 'object' && cause !== null && 'code' in cause ? String(cause.code) : ''
  return code || (cause instanceof Error ? cause.message : String(cause))
}

/**
 * Downloads one file into a folder. What has arrived stays in `<file>.part`, and the next attempt, also in another
 * process, asks for the rest. The file gets its name only when its content has the pinned hash.
 *
 * @param from - where to ask for it, instead of the official place (a mirror)
 * @returns its path
 * @throws DataError without network, or for other content than the pinned one
 */
export async function download(
  file: IdxFile,
  folder: string,
  options: { from?: string; signal: AbortSignal; bar: (total: number) => ProgressBar; retryDelay?: number },
): Promise<string> {
  const url = options.from === undefined ? file.url : `${options.from.replace(/\/$/, '')}/${file.file}`
  const path = join(folder, file.file)
  if (existsSync(path) && contentHash(path) === file.sha256) return path
  mkdirSync(folder, { recursive: true })
  const part = `${path}.part`
  for (let attempt = 1; ; attempt++) {
    try {
      await fetchRest(url, part, options)
      break
    } catch (error) {
      options.signal.throwIfAborted()
      if (error instanceof DataError) throw error
      if (attempt === attempts) throw new DataError(`cannot reach ${url} (${reasonOf(error)}): ${byHand(file, url, folder)}`)
      await new Promise((resolve) => setTimeout(resolve, (options.retryDelay ?? 1000) * attempt))
    }
  }
  const found = hashOrReason(part)
  if (found !== file.sha256) {
    rmSync(part, { force: true })
    throw new DataError(
      `${url}: what came is not ${file.file} (sha256 ${found}, expected ${file.sha256}): try again, or ${byHand(file, url, folder)}`,
    )
  }
  renameSync(part, path)
  return path
}

function hashOrReason(part: string): string {
  try {
    return contentHash(part)
  } catch {
    return 'of a damaged gzip file'
  }
}

async function fetchRest(url: string, part: string, options: { signal: AbortSignal; bar: (total: number) => ProgressBar }): Promise<void> {
  const have = existsSync(part) ? statSync(part).size : 0
  const response = await fetch(url, {
    headers: { 'accept-encoding': 'identity', ...(have > 0 && { range: `bytes=${have}-` }) },
    signal: options.signal,
  })
  const rangeEnd = /\/(\d+)$/.exec(response.headers.get('content-range') ?? '')?.[1]
  if (response.status === 416) {
    await response.body?.cancel()
    // Everything is here already, or the part is of another file: then its hash will say so.
    if (rangeEnd !== undefined && Number(rangeEnd) === have) return
    rmSync(part, { force: true })
    throw new Error('the part on disk does not fit the file')
  }
  if (!response.ok || response.body === null) {
    await response.body?.cancel()
    if (response.status >= 500) throw new Error(`HTTP ${response.status}`)
    throw new DataError(`${url}: HTTP ${response.status}; see whether the address is right, or name a mirror with --from`)
  }
  const continues = response.status === 206
  const length = Number(response.headers.get('content-length') ?? 0)
  const start = continues ? have : 0
  const bar = options.bar(start + length)
  let received = start
  const target = await open(part, continues ? 'a' : 'w')
  try {
    // Each chunk is on disk before the next is awaited: when the connection breaks, the next attempt asks for the rest.
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      await target.writeFile(chunk)
      received += chunk.length
      bar.update(received, `${(received / 1e6).toFixed(1)} MB`)
    }
    if (length > 0 && received < start + length) throw new Error('the connection was closed early')
  } finally {
    await target.close()
    bar.stop()
  }
}
