import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { deflateSync } from 'node:zlib'
import { afterAll, describe, expect, it } from 'vitest'
import { parseMat } from './mat-file'
import { openData } from './open'
import { foundPaperSets, hasPaperSet, paperSet } from './paper-sets'

const root = mkdtempSync(join(tmpdir(), 'bpf-sets-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))
const data = openData({ dataDir: root, env: {}, cwd: root })

function write(folder: string, name: string, bytes: Uint8Array): void {
  mkdirSync(join(root, folder), { recursive: true })
  writeFileSync(join(root, folder, name), bytes)
}

/** An element of a MATLAB 5 file. */
function element(type: number, body: Uint8Array): Buffer {
  const header = Buffer.alloc(8)
  header.writeUInt32LE(type, 0)
  header.writeUInt32LE(body.length, 4)
  return Buffer.concat([header, body, Buffer.alloc((8 - (body.length % 8)) % 8)])
}

function matArray(name: string, shape: readonly number[], values: Uint8Array): Buffer {
  const int32 = Buffer.from(Int32Array.from(shape).buffer)
  const flags = element(6, Buffer.from(Uint32Array.of(9, 0).buffer))
  // A name of up to four letters has a short element.
  const short = Buffer.concat([Buffer.from(Uint16Array.of(1, name.length).buffer), Buffer.from(name.padEnd(4, '\0'))])
  return element(14, Buffer.concat([flags, element(5, int32), short, element(2, values)]))
}

function matFile(...arrays: Buffer[]): Buffer {
  const header = Buffer.alloc(128)
  header.write('MATLAB 5.0 MAT-file')
  header.writeUInt16LE(0x0100, 124)
  header.write('IM', 126)
  const packed = arrays.map((array) => {
    const body = deflateSync(array)
    const head = Buffer.alloc(8)
    head.writeUInt32LE(15, 0)
    head.writeUInt32LE(body.length, 4)
    return Buffer.concat([head, body])
  })
  return Buffer.concat([header, ...packed])
}

describe('paperSet', () => {
  it('says which files are needed, from where, and the option', async () => {
    expect(hasPaperSet(data, 'svhn')).toBe(false)
    await expect(paperSet(data, 'svhn')).rejects.toThrow(/train_32x32\.mat, test_32x32\.mat; ufldl.*not found in .*--data-dir/)
    expect(() => foundPaperSets(data, ['mnist', 'stl-10'])).toThrow(/none of MNIST \(.*; STL-10.*train_X\.bin.* was found in .*--data-dir/)
    await expect(paperSet(data, 'cifar-100')).rejects.toThrow(/CIFAR-100.*train\.bin, test\.bin.*--data-dir/)
  })

  it('reads CIFAR-10 standardised by channel, the first so many images', async () => {
    for (const [i, name] of [1, 2, 3, 4, 5]
      .map((k) => `data_batch_${k}.bin`)
      .concat('test_batch.bin')
      .entries()) {
      const record = new Uint8Array(3073).fill(51 * i)
      record[0] = i
      write('cifar-10-batches-bin', name, record)
    }
    const { train, test } = await paperSet(data, 'cifar-10', { train: 3, mean: [0.2, 0, 0], stddev: [0.5, 1, 1] })
    expect(train.x.shape).toEqual([3, 32, 32, 3])
    expect([...train.y]).toEqual([0, 1, 2])
    const second = [...train.x.data.subarray(3072, 3075)]
    for (const [c, value] of [0, 0.2, 0.2].entries()) expect(second[c]).toBeCloseTo(value, 6)
    expect([...test.y]).toEqual([5])
  })

  it('reads STL-10, whose columns come before rows and whose classes begin with 1', async () => {
    const image = new Uint8Array(3 * 96 * 96)
    image[1] = 255 // the first channel's first column, second row
    for (const part of ['train', 'test']) {
      write('stl10_binary', `${part}_X.bin`, image)
      write('stl10_binary', `${part}_y.bin`, Uint8Array.of(10))
    }
    const { train } = await paperSet(data, 'stl-10')
    expect(train.x.shape).toEqual([1, 96, 96, 3])
    expect(train.x.data.indexOf(1)).toBe(96 * 3)
    expect([...train.y]).toEqual([9])
  })

  it('reads SVHN, whose zeros are class 10', async () => {
    // X [2, 2, 3, 2], the first axis fastest.
    const x = Uint8Array.from({ length: 24 }, (_, i) => i)
    for (const part of ['train', 'test']) {
      write('svhn', `${part}_32x32.mat`, matFile(matArray('X', [2, 2, 3, 2], x), matArray('y', [2, 1], Uint8Array.of(10, 4))))
    }
    const { train } = await paperSet(data, 'svhn')
    expect(train.x.shape).toEqual([2, 2, 2, 3])
    expect(Array.from(train.x.data.subarray(0, 6), (value) => Math.round(255 * value))).toEqual([0, 4, 8, 2, 6, 10])
    expect([...train.y]).toEqual([0, 4])
  })
})

describe('parseMat', () => {
  it('refuses other files and broken ones', () => {
    expect(() => parseMat(new Uint8Array(10), 'x.mat')).toThrow(/x\.mat: not a little-endian MATLAB 5 file/)
    const whole = matFile(matArray('X', [1, 2], Uint8Array.of(1, 2)))
    expect(parseMat(whole, 'x.mat').X).toEqual({ shape: [1, 2], data: Buffer.of(1, 2) })
    expect(() => parseMat(whole.subarray(0, 140), 'x.mat')).toThrow(/broken off at byte 128/)
  })
})
