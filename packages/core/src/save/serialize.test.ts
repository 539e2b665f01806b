import * as tf from '@tensorflow/tfjs-core'
import fc from 'fast-check'
import { createHash } from 'node:crypto'
import { beforeAll, describe, expect, it } from 'vitest'
import { useBackend } from '../backend'
import { isBpfError } from '../errors'
import type { Json } from '../learner'
import { dispose, entries, signature, type Tree } from '../tree'
import { pythonSafetensors } from './__fixtures__/python-safetensors'
import { deserialize, memoryCheckpoints, readSafetensors, serialize } from './index'

beforeAll(() => useBackend('cpu'))

const encode = (text: string): Uint8Array => new TextEncoder().encode(text)

function headerOf(file: Uint8Array): { text: string; size: number } {
  const size = new DataView(file.buffer, file.byteOffset).getUint32(0, true)
  return { text: new TextDecoder().decode(file.subarray(8, 8 + size)), size }
}

/** A file with this header and data, its hash made right again where it has one. */
function forge(header: string, data: Uint8Array = new Uint8Array(0)): Uint8Array {
  const bytes = encode(header)
  const file = new Uint8Array(8 + bytes.length + data.length)
  new DataView(file.buffer).setUint32(0, bytes.length, true)
  file.set(bytes, 8)
  file.set(data, 8 + bytes.length)
  const hash = header.indexOf('"bpf.sha256":"')
  if (hash >= 0) {
    const at = 8 + hash + '"bpf.sha256":"'.length
    file.set(encode('0'.repeat(64)), at)
    file.set(encode(createHash('sha256').update(file).digest('hex')), at)
  }
  return file
}

function rewrite(file: Uint8Array, change: (header: string) => string): Uint8Array {
  const { text, size } = headerOf(file)
  const changed = change(text)
  expect(changed).not.toBe(text)
  return forge(changed, file.subarray(8 + size))
}

function sample(): Tree {
  return {
    layers: [{ kernel: tf.tensor2d([1, 2, 3, 4, 5, -0], [2, 3]), 'odd/~name': tf.scalar(NaN) }, {}, []],
    step: tf.scalar(7, 'int32'),
    mask: tf.tensor1d([true, false, true], 'bool'),
    spectrum: tf.complex([1, 2], [3, Infinity]),
    empty: tf.zeros([0, 4]),
    nothing: [],
  }
}

async function expectSame(a: Tree, b: Tree): Promise<void> {
  expect(signature(a)).toBe(signature(b))
  const right = entries(b)
  for (const [i, { leaf, path }] of entries(a).entries()) expect(await right[i].leaf.data(), path).toEqual(await leaf.data())
}

describe('serialize and deserialize', () => {
  it('give back the tree bit for bit, empty lists and records included, and leak nothing', async () => {
    const before = tf.memory().numTensors
    const tree = sample()
    const file = await serialize(tree)
    const loaded = deserialize(file)
    await expectSame(tree, loaded.tree)
    expect(loaded.tree).toMatchObject({ nothing: [] })
    expect((loaded.tree as { layers: Tree[] }).layers.slice(1)).toEqual([{}, []])
    expect([loaded.host, loaded.environment]).toEqual([null, null])
    dispose(tree, loaded.tree)
    expect(tf.memory().numTensors).toBe(before)
  })

  it('is deterministic', async () => {
    const tree = sample()
    expect(await serialize(tree)).toEqual(await serialize(tree))
    dispose(tree)
  })

  it('saves a single tensor and an empty tree', async () => {
    expect((deserialize(await serialize(tf.scalar(3))).tree as tf.Tensor).dataSync()).toEqual(Float32Array.of(3))
    expect(deserialize(await serialize({})).tree).toEqual({})
    expect(deserialize(await serialize([])).tree).toEqual([])
  })

  it('keeps host state exactly: NaN, infinities, −0, doubles, keys with $', async () => {
    const json = fc.letrec<{ value: Json }>((tie) => ({
      value: fc.oneof(
        { maxDepth: 3 },
        fc.constant(null),
        fc.boolean(),
        fc.double(),
        fc.string({ unit: 'binary' }),
        fc.float64Array(),
        fc.array(tie('value')),
        fc.dictionary(
          fc
            .oneof(fc.string(), fc.constantFrom('$float64', '$number', '$$'))
            .filter((key) => !['__proto__', 'constructor', 'prototype'].includes(key)),
          tie('value'),
          { noNullPrototype: true },
        ),
      ),
    })).value
    await fc.assert(
      fc.asyncProperty(json, json, async (host, environment) => {
        const loaded = deserialize(await serialize({}, { host, environment }))
        expect(loaded).toEqual({ tree: {}, host, environment })
      }),
      { numRuns: 200 },
    )
  })

  it('refuses what it could not give back', async () => {
    await expect(serialize({}, { host: { a: [undefined] } as unknown as Json })).rejects.toThrow(/host state at '\/a\/0' is undefined/)
    const cycle: Json[] = []
    cycle.push(cycle)
    await expect(serialize({}, { host: cycle })).rejects.toThrow(/does it hold itself/)
    await expect(serialize({}, { host: new Map() as unknown as Json })).rejects.toThrow(/class Map/)
    await expect(serialize({}, { host: JSON.parse('{"__proto__":1}') as Json })).rejects.toThrow(/'__proto__', which is not allowed/)
    await expect(
      serialize(JSON.parse('{"__proto__":[]}', (_, v: unknown) => (Array.isArray(v) ? tf.scalar(1) : v)) as Tree),
    ).rejects.toThrow(/not allowed/)
    await expect(serialize({ a: tf.tensor1d(['x']) })).rejects.toThrow(/'\/a' holds strings/)
    const gone = tf.scalar(1)
    gone.dispose()
    await expect(serialize({ gone })).rejects.toThrow(/'\/gone' was disposed/)
  })
})

describe('deserialize', () => {
  let file: Uint8Array
  beforeAll(async () => {
    file = await serialize(
      { a: tf.tensor1d([1, 2, 3]), b: tf.tensor1d([true, false], 'bool'), c: [tf.scalar(1, 'int32')] },
      { host: { step: 3 } },
    )
  })

  it.each<[string, (whole: Uint8Array) => Uint8Array, RegExp]>([
    ['an empty file', () => new Uint8Array(0), /byte 0: expected 8 bytes \(header length\)/],
    ['a header length beyond the file', (f) => f.slice(0, 100), /byte 0: expected a header length from 2 to 92, got \d+/],
    ['a header that is no JSON', () => forge('{"a": '), /byte 8: expected a header of 6 bytes in JSON/],
    ['a header that is no object', () => forge('[]'), /expected a JSON object as header/],
    ['equal names', (f) => rewrite(f, (h) => h.replace('"/b":', '"/a":')), /expected names that differ, got '\/a' twice/],
    ['equal names, one escaped', (f) => rewrite(f, (h) => h.replace('"/b":', '"\\u002fa":')), /names that differ/],
    ['equal keys in an entry', (f) => rewrite(f, (h) => h.replace('"dtype":"BOOL"', '"dtype":"F32","dtype":"BOOL"')), /'dtype' twice/],
    ['an overlap', (f) => rewrite(f, (h) => h.replace('[12,16]', '[8,12]')), /an overlap/],
    ['a gap', (f) => rewrite(f, (h) => h.replace('"shape":[3],"data_offsets":[0,12]', '"shape":[2],"data_offsets":[0,8]')), /got a gap/],
    [
      'bytes after the last tensor',
      (f) => forge(headerOf(f).text, Uint8Array.from([...f.subarray(8 + headerOf(f).size), 0])),
      /expected the end of the file, got 1 bytes more/,
    ],
    [
      'an offset out of range',
      (f) => rewrite(f, (h) => h.replace('[16,18]', '[16,1800]')),
      /tensor '\/b': expected data_offsets .* within 18 bytes/,
    ],
    ['offsets that are no integers', (f) => rewrite(f, (h) => h.replace('[16,18]', '[16,18.5]')), /data_offsets/],
    [
      'a byte count that does not match the shape',
      (f) => rewrite(f, (h) => h.replace('"shape":[3]', '"shape":[4]')),
      /expected 16 bytes for F32\[4\], got 12/,
    ],
    [
      'a shape whose product overflows',
      (f) => rewrite(f, (h) => h.replace('"shape":[3]', '"shape":[4294967296,4294967296,3]')),
      /expected \d+(e\+\d+)? bytes for F32/,
    ],
    ['a negative size', (f) => rewrite(f, (h) => h.replace('"shape":[3]', '"shape":[-3]')), /shape of non-negative integers/],
    ['an unknown dtype', (f) => rewrite(f, (h) => h.replace('"I32"', '"I33"')), /expected a dtype of BOOL, .*, got "I33"/],
    ['a dtype named like a method', (f) => rewrite(f, (h) => h.replace('"I32"', '"toString"')), /expected a dtype/],
    ['an entry with a field missing', (f) => rewrite(f, (h) => h.replace('"dtype":"BOOL",', '')), /\{ dtype, shape, data_offsets \}/],
    ['a wrong hash', (f) => f.map((byte, i) => (i === f.length - 1 ? byte ^ 1 : byte)), /expected SHA-256 [0-9a-f]{64}, got [0-9a-f]{64}/],
    [
      'metadata that is no text',
      (f) => rewrite(f, (h) => h.replace('"bpf.format":"1"', '"bpf.format":1')),
      /'bpf.format': expected a string/,
    ],
    ['another version of the format', (f) => rewrite(f, (h) => h.replace('"bpf.format":"1"', '"bpf.format":"2"')), /bpf.format 1 .* got 2/],
    [
      'a structure with a polluting key',
      (f) => rewrite(f, (h) => h.replace('\\"a\\"', '\\"__proto__\\"').replace('"/a"', '"/__proto__"')),
      /harmless keys, got '__proto__'/,
    ],
    [
      'host state with a polluting key',
      (f) => rewrite(f, (h) => h.replace('\\"step\\"', '\\"constructor\\"')),
      /'constructor' is not allowed/,
    ],
    ['a structure without its tensor', (f) => rewrite(f, (h) => h.replace('"/a"', '"/d"')), /expected a tensor '\/a'/],
    [
      'a structure of another dtype',
      (f) => rewrite(f, (h) => h.replace('\\"int32\\"', '\\"float32\\"')),
      /expected dtype F32 as in bpf.structure, got I32/,
    ],
    ['a tensor beyond the structure', (f) => rewrite(f, (h) => h.replace(',\\"c\\":[\\"int32\\"]', '')), /expected 2 tensors, got 3/],
    [
      'a bool of 2',
      (f) =>
        forge(
          headerOf(f).text,
          f.subarray(8 + headerOf(f).size).map((byte, i) => (i === 16 ? 2 : byte)),
        ),
      /expected a bool of 0 or 1, got 2/,
    ],
    ['no hash', (f) => rewrite(f, (h) => h.replace(/"bpf.sha256":"[0-9a-f]{64}",/, '')), /a file written by @bpf\/core/],
  ])('rejects %s', (_, damage, message) => {
    const before = tf.memory().numTensors
    let thrown: unknown
    try {
      deserialize(damage(file), { file: 'model.safetensors' })
    } catch (error) {
      thrown = error
    }
    expect(isBpfError(thrown, 'DataError')).toBe(true)
    expect((thrown as Error).message).toMatch(message)
    expect((thrown as Error).message).toContain('model.safetensors')
    expect(tf.memory().numTensors).toBe(before)
  })

  it('refuses forged nesting before it exhausts the stack', () => {
    const deep = (open: string, inner: string, close: string): string =>
      JSON.stringify(open.repeat(100_000) + inner + close.repeat(100_000))
    const header = (structure: string, host: string): string =>
      `{"__metadata__":{"bpf.sha256":"${'0'.repeat(64)}","bpf.format":"1","bpf.structure":${structure},"bpf.host":${host}}}`
    expect(() => deserialize(forge(header(deep('[', '', ']'), '"null"')))).toThrow(/bpf.structure: expected at most 500 levels/)
    expect(() => deserialize(forge(header('"{}"', deep('{"a":', '1', '}'))))).toThrow(/bpf.host: nested more than 500 deep/)
    expect(() => deserialize(forge(`{"a":${'['.repeat(100_000)}${']'.repeat(100_000)}}`))).toThrow(/saved state/)
  })

  it('finds every truncation and every changed byte', () => {
    const fails = (bytes: Uint8Array): void => {
      for (const read of [deserialize, readSafetensors]) {
        let thrown: unknown
        try {
          dispose(read(bytes) as Tree)
        } catch (error) {
          thrown = error
        }
        if (!isBpfError(thrown, 'DataError')) throw new Error(`expected a DataError, got ${String(thrown)}`)
      }
    }
    for (let i = 0; i < file.length; i++) {
      fails(file.slice(0, i))
      for (const bit of [0, 5, 7]) fails(file.map((byte, at) => (at === i ? byte ^ (1 << bit) : byte)))
    }
  })
})

describe('readSafetensors', () => {
  it('reads what Python wrote', () => {
    const bytes = Uint8Array.from(atob(pythonSafetensors), (character) => character.charCodeAt(0))
    const tensors = readSafetensors(bytes)
    const values = Object.fromEntries(Object.entries(tensors).map(([name, t]) => [name, [t.dtype, t.shape, [...t.dataSync()]]]))
    expect(values).toEqual({
      w: ['float32', [2, 3], [0, 1, 2, 3, 4, 5]],
      n: ['int32', [2], [1, 2]],
      h: ['float32', [5], [0.5, -2, 65504, Math.fround(1 / 2 ** 24), Infinity]],
      b: ['bool', [2], [1, 0]],
      d: ['float32', [], [2.5]],
      u: ['int32', [1], [255]],
      s: ['int32', [1], [-5]],
    })
    dispose(tensors)
    expect(() => deserialize(bytes)).toThrow(/read it with readSafetensors/)
  })

  it('reads bfloat16, and refuses 64-bit integers that do not fit without leaking', () => {
    const before = tf.memory().numTensors
    const bfloat = readSafetensors(forge('{"x":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}', Uint8Array.of(0xc0, 0x3f, 0x20, 0xc0)))
    expect([...bfloat.x.dataSync()]).toEqual([1.5, -2.5])
    dispose(bfloat)
    const wide = '{"x":{"dtype":"BOOL","shape":[8],"data_offsets":[0,8]},"y":{"dtype":"I64","shape":[1],"data_offsets":[8,16]}}'
    expect(() => readSafetensors(forge(wide, Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0)))).toThrow(
      /fit int32, got 4294967296/,
    )
    expect(tf.memory().numTensors).toBe(before)
  })

  it('reads our own files flat', async () => {
    const tree = { a: [tf.scalar(1), tf.scalar(2)] }
    const flat = readSafetensors(await serialize(tree))
    expect(Object.keys(flat)).toEqual(['/a/0', '/a/1'])
    dispose(tree, flat)
  })
})

describe('memoryCheckpoints', () => {
  it('gives back the newest checkpoint as a copy', async () => {
    const store = memoryCheckpoints()
    expect(await store.load()).toBeUndefined()
    const x = tf.tensor1d([1, 2])
    await store.save({ trees: { state: { x } }, host: { step: 1 } }, { step: 1, best: true })
    x.dispose()
    for (let i = 0; i < 2; i++) {
      const loaded = await store.load()
      expect(loaded?.host).toEqual({ step: 1 })
      expect((loaded?.trees.state as { x: tf.Tensor }).x.dataSync()).toEqual(Float32Array.of(1, 2))
      dispose(loaded?.trees)
    }
  })
})
