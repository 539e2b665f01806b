import { createHash, randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { readJson } from '../bootstrap/workspace.mjs'
import { buildPlatforms, isBuilt, packageFolder, platforms } from './build.mjs'

let base
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'bpf-ort-test-'))
  for (const platform of Object.keys(platforms)) mkdirSync(packageFolder(platform, base), { recursive: true })
})
afterEach(() => rmSync(base, { recursive: true, force: true }))

/** A gzipped tar file of these contents, as npm makes it. */
function writeTarball(contents) {
  const entries = Object.entries(contents).flatMap(([path, content]) => {
    const header = Buffer.alloc(512)
    header.write(path, 0)
    header.write(`${content.length.toString(8).padStart(11, '0')}\0`, 124)
    header.write('0ustar\0', 156)
    return [header, content, Buffer.alloc((512 - (content.length % 512)) % 512)]
  })
  const file = join(base, 'fake.tgz')
  writeFileSync(file, gzipSync(Buffer.concat([...entries, Buffer.alloc(1024)])))
  return { tarball: file, sha256: createHash('sha256').update(readFileSync(file)).digest('hex') }
}

const inside = (platform, file) => `package/bin/napi-v6/${platform.replace('-', '/')}/${file}`

/** Like the real one, for two platforms and with a file that nobody wants. */
const contents = {
  'package/package.json': Buffer.from('{}'),
  [inside('linux-x64', 'libonnxruntime.so.1')]: randomBytes(300_001),
  [inside('win32-x64', 'DirectML.dll')]: randomBytes(1024),
  [inside('linux-x64', 'onnxruntime_binding.node')]: randomBytes(512),
  [inside('win32-x64', 'onnxruntime.dll')]: randomBytes(7),
  [inside('win32-x64', 'onnxruntime_binding.node')]: Buffer.alloc(0),
}

describe('building the packages of ONNX Runtime', () => {
  it('unpacks what a platform needs, and nothing else', async () => {
    expect(await buildPlatforms(['linux-x64', 'win32-x64'], { base, ...writeTarball(contents) })).toEqual(['linux-x64', 'win32-x64'])
    for (const platform of ['linux-x64', 'win32-x64']) {
      expect(isBuilt(platform, base)).toBe(true)
      const folder = packageFolder(platform, base)
      expect(readdirSync(folder).sort()).toEqual(['.origin', ...platforms[platform]].sort())
      for (const file of platforms[platform]) expect(readFileSync(join(folder, file)).equals(contents[inside(platform, file)])).toBe(true)
    }
    expect(readdirSync(packageFolder('linux-arm64', base))).toEqual([])
  })

  it('does nothing where all is there', async () => {
    await buildPlatforms(['linux-x64'], { base, ...writeTarball(contents) })
    expect(await buildPlatforms(['linux-x64'], { base, tarball: '/there/is/none' })).toEqual([])
  })

  it('fills a package anew whose files come from another tarball', async () => {
    await buildPlatforms(['linux-x64'], { base, ...writeTarball(contents) })
    writeFileSync(join(packageFolder('linux-x64', base), '.origin'), 'onnxruntime-node@1.0.0 sha256:0\n')
    expect(await buildPlatforms(['linux-x64'], { base, ...writeTarball(contents) })).toEqual(['linux-x64'])
  })

  it('refuses a tarball with another hash', async () => {
    const { tarball } = writeTarball(contents)
    await expect(buildPlatforms(['linux-x64'], { base, tarball })).rejects.toThrow(
      /fake\.tgz: expected onnxruntime-node@1\.30\.0 with sha256 6e3390d6.*, got/,
    )
    expect(readdirSync(packageFolder('linux-x64', base))).toEqual([])
  })

  it('says which file is missing, and does not count the package as built', async () => {
    await expect(buildPlatforms(['darwin-arm64'], { base, ...writeTarball(contents) })).rejects.toThrow(
      'package/bin/napi-v6/darwin/arm64/libonnxruntime.1.dylib inside, found none',
    )
    expect(isBuilt('darwin-arm64', base)).toBe(false)
  })

  it('refuses a tarball that ends early', async () => {
    const { tarball } = writeTarball(contents)
    writeFileSync(tarball, readFileSync(tarball).subarray(0, 100_000))
    const sha256 = createHash('sha256').update(readFileSync(tarball)).digest('hex')
    await expect(buildPlatforms(['linux-x64'], { base, tarball, sha256 })).rejects.toThrow()
    expect(isBuilt('linux-x64', base)).toBe(false)
  })
})

describe.each(Object.keys(platforms))('packages/ort-%s', (platform) => {
  const folder = packageFolder(platform)

  it('installs on its platform only, without scripts, and publishes exactly the files that are built', () => {
    const [os, cpu] = platform.split('-')
    const manifest = readJson(join(folder, 'package.json'))
    expect(manifest).toMatchObject({ name: `@bpf/ort-${platform}`, os: [os], cpu: [cpu], license: 'MIT', main: 'onnxruntime_binding.node' })
    expect(manifest.libc).toEqual(os === 'linux' ? ['glibc'] : undefined)
    expect(manifest.scripts).toBeUndefined()
    expect(manifest.dependencies).toBeUndefined()
    expect(manifest.files).toEqual([...platforms[platform], 'NOTICE'])
    for (const file of ['README.md', 'LICENSE', 'NOTICE']) expect(existsSync(join(folder, file))).toBe(true)
  })

  it('keeps the built files out of git', () => {
    const ignored = readFileSync(join(folder, '.gitignore'), 'utf8').split('\n')
    expect(ignored).toEqual(expect.arrayContaining([...platforms[platform], '*.tmp', '.origin']))
  })
})
