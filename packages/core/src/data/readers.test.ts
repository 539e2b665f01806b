import fc from 'fast-check'
import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { isBpfError } from '../errors'
import { numpyFiles } from './__fixtures__/numpy-files'
import { parseCifar10, parseCifar100 } from './cifar'
import { parseCsv } from './csv'
import { gunzip } from './gzip'
import { parseIdx } from './idx'
import { parseNpy, parseNpz } from './npy'

function fromBase64(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0))
}

function idx(type: number, shape: readonly number[], data: readonly number[]): Uint8Array {
  return Uint8Array.from([0, 0, type, shape.length, ...shape.flatMap((n) => [0, 0, n >> 8, n & 255]), ...data])
}

function cifar(records: readonly (readonly number[])[]): Uint8Array {
  const labels = records[0].length
  const bytes = new Uint8Array(records.length * (labels + 3072))
  records.forEach((record, r) => {
    bytes.set(record, r * (labels + 3072))
    for (let i = 0; i < 3072; i++) bytes[r * (labels + 3072) + labels + i] = (r + i) % 251
  })
  return bytes
}

describe('parseIdx', () => {
  const images = idx(8, [2, 2, 3], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 255])

  it('reads bytes, plain and gzipped', () => {
    for (const file of [images, gzipSync(images)]) {
      const { data, shape } = parseIdx(file)
      expect(shape).toEqual([2, 2, 3])
      expect(data).toEqual(Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 255]))
    }
  })

  it('reads the other element types, big-endian', () => {
    expect([...parseIdx(idx(0x09, [2], [0xff, 1])).data]).toEqual([-1, 1])
    expect([...parseIdx(idx(0x0b, [2], [0xff, 0xfe, 1, 0])).data]).toEqual([-2, 256])
    expect([...parseIdx(idx(0x0c, [1], [0, 1, 0, 0])).data]).toEqual([65536])
    expect([...parseIdx(idx(0x0d, [1], [0x3f, 0xc0, 0, 0])).data]).toEqual([1.5])
    expect([...parseIdx(idx(0x0e, [1], [0xc0, 0x04, 0, 0, 0, 0, 0, 0])).data]).toEqual([-2.5])
  })

  it('names file, offset and what was expected', () => {
    expect(() => parseIdx(images.subarray(0, 20), 'train.idx')).toThrow(
      'train.idx: byte 16: expected 12 bytes of data for uint8[2, 2, 3], got 4 bytes',
    )
    expect(() => parseIdx(Uint8Array.of(0, 0, 7, 1))).toThrow(/byte 0: expected the IDX magic .* got 00 00 07 01/)
    expect(() => parseIdx(new Uint8Array(2), 'a.idx')).toThrow(/a.idx: byte 0: expected 4 bytes \(IDX magic\)/)
    const packed = gzipSync(images)
    expect(() => parseIdx(packed.subarray(0, packed.length - 3), 'a.gz')).toThrow(/a.gz: byte 10: expected/)
    packed[packed.length - 6] ^= 1
    expect(() => parseIdx(packed, 'a.gz')).toThrow(/CRC-32/)
  })
})

describe('gunzip', () => {
  it('reads headers with extra field, name, comment and header checksum', () => {
    const plain = new TextEncoder().encode('hello hello')
    const packed = gzipSync(plain)
    const optional = [3, 0, 1, 2, 3, ...[...'name'].map((c) => c.charCodeAt(0)), 0, 33, 0, 7, 7]
    const file = Uint8Array.from([...packed.subarray(0, 3), 2 | 4 | 8 | 16, ...packed.subarray(4, 10), ...optional, ...packed.subarray(10)])
    expect(gunzip(file, 'x')).toEqual(plain)
  })

  it('does not allocate what a forged size asks for', () => {
    const packed = gzipSync(new Uint8Array(100))
    packed.set([255, 255, 255, 255], packed.length - 4)
    expect(() => gunzip(packed, 'bomb.gz')).toThrow(/expected 4294967295 bytes after decompression, got 100/)
  })
})

describe('parseCifar10 and parseCifar100', () => {
  it('turn planes into interleaved channels', () => {
    const { images, labels } = parseCifar10(cifar([[3], [9]]))
    expect([...labels.data]).toEqual([3, 9])
    expect(images.shape).toEqual([2, 32, 32, 3])
    const pixel = (record: number, row: number, column: number): number[] => {
      const start = ((record * 32 + row) * 32 + column) * 3
      return [...images.data.slice(start, start + 3)]
    }
    const plane = (record: number, i: number): number[] => [0, 1, 2].map((channel) => (record + channel * 1024 + i) % 251)
    expect(pixel(0, 0, 0)).toEqual(plane(0, 0))
    expect(pixel(1, 5, 7)).toEqual(plane(1, 5 * 32 + 7))
    const fine = parseCifar100(cifar([[19, 99]]))
    expect([...fine.coarseLabels.data, ...fine.labels.data]).toEqual([19, 99])
  })

  it('name file and offset of a bad label or a short record', () => {
    expect(() => parseCifar10(cifar([[3], [10]]), 'b.bin')).toThrow('b.bin: byte 3073: expected a label below 10, got 10')
    expect(() => parseCifar100(cifar([[20, 0]]), 'b.bin')).toThrow('b.bin: byte 0: expected a label below 20, got 20')
    expect(() => parseCifar10(cifar([[3], [1]]).subarray(0, 4000), 'b.bin')).toThrow(
      /b.bin: byte 3073: expected records of 3073 bytes, got 927/,
    )
    expect(() => parseCifar10(new Uint8Array(0))).toThrow(/byte 0/)
  })
})

describe('parseNpy', () => {
  const arange = Array.from({ length: 24 }, (_, i) => i)

  it.each([
    '<f4',
    '>f4',
    '<f8',
    '>f8',
    '<i2',
    '>i2',
    '<i4',
    '>i4',
    '<i8',
    '>i8',
    'i1',
    'u1',
    '<u2',
    '<u4',
    'fortran',
    'fortran-big',
    'v2',
    'v3',
  ] as const)('reads %s as numpy wrote it', (name) => {
    const { data, shape } = parseNpy(fromBase64(numpyFiles[name]))
    expect(shape).toEqual([2, 3, 4])
    expect([...data]).toEqual(arange)
  })

  it('reads bools, scalars, vectors, empty arrays and 64-bit integers', () => {
    const read = (name: keyof typeof numpyFiles) => parseNpy(fromBase64(numpyFiles[name]))
    expect(read('bool').dtype).toBe('bool')
    expect([...read('bool').data]).toEqual(arange.map((i) => (i % 3 === 0 ? 1 : 0)))
    expect(read('scalar')).toEqual({ data: Float64Array.of(2.5), shape: [] })
    expect(read('vector')).toEqual({ data: Float32Array.of(1.5, 2.5), shape: [2] })
    expect(read('empty').shape).toEqual([0, 3])
    expect(read('<i8').data).toBeInstanceOf(Int32Array)
    expect(read('wide').data).toEqual(Float64Array.of(1, 2 ** 40))
  })

  it('names file, offset and what was expected', () => {
    const file = fromBase64(numpyFiles['<f4'])
    expect(() => parseNpy(file.subarray(0, 200), 'x.npy')).toThrow(
      'x.npy: byte 128: expected 96 bytes of data for <f4[2, 3, 4], got 72 bytes',
    )
    expect(() => parseNpy(file.subarray(0, 50), 'x.npy')).toThrow(/x.npy: byte 10: expected 118 bytes \(NPY header\)/)
    expect(() => parseNpy(fromBase64(numpyFiles.complex))).toThrow(/expected a dtype of f4, .* got '<c8'/)
    expect(() => parseNpy(fromBase64(numpyFiles.structured))).toThrow(/structured dtype/)
    expect(() => parseNpy(fromBase64(numpyFiles['too-wide']))).toThrow(
      /byte 136: expected an integer below 2\^53 in size, got 1152921504606846976/,
    )
  })
})

describe('parseNpz', () => {
  it.each(['npz', 'npz-compressed'] as const)('reads %s as numpy wrote it', (name) => {
    const arrays = parseNpz(fromBase64(numpyFiles[name]))
    expect([...arrays.keys()]).toEqual(['x', 'y'])
    expect(arrays.get('x')).toEqual({ data: Float32Array.of(0, 1, 2, 3, 4, 5), shape: [2, 3] })
    expect([...(arrays.get('y')?.data ?? [])]).toEqual([0, 1])
  })

  it('finds a changed byte by its checksum', () => {
    const file = fromBase64(numpyFiles.npz)
    file[180] ^= 1
    expect(() => parseNpz(file, 'a.npz')).toThrow(/a.npz \(x.npy\): byte \d+: .*CRC-32/)
  })
})

describe('parseCsv', () => {
  const text = 'id,"sepal, cm",species\n1,5.1,setosa\n2,NA,"versi""color"\n\n3,-1e-3,\n'

  it('reads typed columns with explicit missing values', () => {
    const table = parseCsv(`\ufeff${text}`)
    expect(table.size).toBe(3)
    expect([...table.columns.keys()]).toEqual(['id', 'sepal, cm', 'species'])
    expect(table.columns.get('sepal, cm')).toEqual({
      kind: 'numeric',
      values: Float64Array.of(5.1, NaN, -0.001),
      missing: Uint8Array.of(0, 1, 0),
    })
    expect(table.columns.get('species')).toEqual({
      kind: 'categorical',
      codes: Int32Array.of(0, 1, -1),
      vocabulary: ['setosa', 'versi"color'],
      missing: Uint8Array.of(0, 0, 1),
    })
  })

  it('takes names, delimiter, vocabulary and kinds from the options', () => {
    const table = parseCsv('1;b\n2;a', { names: ['n', 'c'], delimiter: ';', columns: { n: 'categorical', c: { vocabulary: ['b', 'a'] } } })
    expect(table.columns.get('c')).toMatchObject({ codes: Int32Array.of(0, 1) })
    expect(table.columns.get('n')).toMatchObject({ kind: 'categorical', vocabulary: ['1', '2'] })
  })

  it('survives column names that an object would choke on', () => {
    expect(parseCsv('__proto__,constructor\n1,2').columns.get('__proto__')).toMatchObject({ kind: 'numeric' })
  })

  it('names file, line and column', () => {
    expect(() => parseCsv('a,b\n1,x\n2,3', { columns: { b: 'numeric' } }, 't.csv')).toThrow(
      "t.csv: line 2, column 2 ('b'): expected a number, got 'x'",
    )
    expect(() => parseCsv('a\nx\ny', { columns: { a: { vocabulary: ['x'] } } }, 't.csv')).toThrow(
      "t.csv: line 3, column 1 ('a'): expected one of x, got 'y'",
    )
    expect(() => parseCsv('a,b\n1\n', {}, 't.csv')).toThrow(/t.csv: line 2: Invalid Record Length/)
    expect(() => parseCsv('a,b\n1,"x\n', {}, 't.csv')).toThrow(/t.csv: line \d: Quote Not Closed/)
    expect(() => parseCsv('', {}, 't.csv')).toThrow(/t.csv: line 1: expected a header line/)
    expect(() => parseCsv('a,a\n1,2', {}, 't.csv')).toThrow(/'a' twice/)
    expect(() => parseCsv(Uint8Array.of(97, 10, 0xff), {}, 't.csv')).toThrow(/t.csv: line 2: expected text in UTF-8/)
    expect(() => parseCsv('a\n1', { columns: { b: 'numeric' } }, 't.csv')).toThrow(/names 'b'; the file has a/)
  })
})

describe('a damaged file', () => {
  const samples: [string, Uint8Array, (bytes: Uint8Array) => unknown][] = [
    ['IDX', idx(8, [2, 2, 3], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]), parseIdx],
    ['gzipped IDX', gzipSync(idx(8, [20, 2, 3], [...Array(120).keys()])), parseIdx],
    ['CIFAR-10', cifar([[3], [9]]), parseCifar10],
    ['CIFAR-100', cifar([[3, 9]]), parseCifar100],
    ['NPY', fromBase64(numpyFiles['fortran-big']), parseNpy],
    ['NPY version 3', fromBase64(numpyFiles.v3), parseNpy],
    ['NPY of 64-bit integers', fromBase64(numpyFiles['<i8']), parseNpy],
    ['NPZ', fromBase64(numpyFiles.npz), parseNpz],
    ['compressed NPZ', fromBase64(numpyFiles['npz-compressed']), parseNpz],
    ['CSV', new TextEncoder().encode('a,b,"c d"\n1,2.5,x\n3,,"y ""z"""\n4,5,x\n'), parseCsv],
  ]

  it.each(samples)('(%s) gives a DataError or a valid parse, never another error', (_, whole, parse) => {
    const attempt = (bytes: Uint8Array): void => {
      try {
        parse(bytes)
      } catch (error) {
        if (!isBpfError(error, 'DataError')) throw error
      }
    }
    for (let length = 0; length < Math.min(whole.length, 600); length++) attempt(whole.slice(0, length))
    const flips = fc.array(fc.record({ at: fc.nat(whole.length - 1), to: fc.nat(255) }), { minLength: 1, maxLength: 4 })
    fc.assert(
      fc.property(flips, fc.nat(whole.length), fc.boolean(), (changes, length, truncate) => {
        const bytes = whole.slice()
        for (const { at, to } of changes) bytes[at] = to
        attempt(truncate ? bytes.slice(0, length) : bytes)
      }),
      { numRuns: 1500 },
    )
  })
})
