import * as tf from '@tensorflow/tfjs-core'
import fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import { useBackend } from './backend'
import { OptionError, ShapeError } from './errors'
import * as tree from './tree'

beforeAll(() => useBackend())

const sample = () => ({ b: [tf.tensor1d([1, 2]), tf.scalar(3, 'int32')], a: { w: tf.tensor2d([[4, 5]]) } })

const shapes: fc.Memo<unknown> = fc.memo((depth) =>
  depth <= 1
    ? fc.constant('leaf')
    : fc.oneof(
        fc.constant('leaf'),
        fc.array(shapes(), { maxLength: 3 }),
        fc.dictionary(fc.string({ maxLength: 4 }), shapes(), { maxKeys: 3 }),
      ),
)
function build(plan: unknown): tree.Tree {
  if (plan === 'leaf') return tf.scalar(1)
  if (Array.isArray(plan)) return plan.map(build)
  return Object.fromEntries(
    Object.entries(plan as object)
      .filter(([key]) => key !== '__proto__')
      .map(([key, value]) => [key, build(value)]),
  )
}

describe('flatten and unflatten', () => {
  it('walk records in sorted key order', () => {
    expect(tree.entries(sample()).map(({ path }) => path)).toEqual(['/a/w', '/b/0', '/b/1'])
  })

  it('are inverse to each other on any tree', () => {
    fc.assert(
      fc.property(shapes(4), (plan) => {
        const original = build(plan)
        const { leaves, structure } = tree.flatten(original)
        expect(tree.unflatten(structure, leaves)).toEqual(original)
        tree.dispose(original)
      }),
      { numRuns: 50 },
    )
  })

  it('escape keys as JSON Pointer does', () => {
    expect(tree.entries({ 'a/b~c': tf.scalar(0) })[0].path).toBe('/a~1b~0c')
  })

  it('refuse a number inside a tree and say what to do', () => {
    expect(() => tree.flatten({ lr: 0.1 } as unknown as tree.Tree)).toThrow(OptionError)
    expect(() => tree.flatten({ lr: 0.1 } as unknown as tree.Tree)).toThrow("at '/lr', got the number 0.1. A tree holds only tensors")
    expect(() => tree.flatten({ x: null } as unknown as tree.Tree)).toThrow('got null')
  })

  it('refuse another number of leaves', () => {
    expect(() => tree.unflatten(tree.flatten(sample()).structure, [tf.scalar(0)])).toThrow(ShapeError)
  })
})

describe('map', () => {
  it('combines corresponding leaves', async () => {
    const sum = tree.map((x, y) => tf.add(x, y), sample(), sample())
    expect(await sum.a.w.array()).toEqual([[8, 10]])
  })

  it('names what differs between two structures', () => {
    expect(() => tree.map((x) => x.clone(), { a: tf.scalar(0) }, { b: tf.scalar(0) })).toThrow('missing /a; unexpected /b')
  })
})

describe('numbers over trees', () => {
  it('dot and norm use the float leaves', () => {
    expect(tree.dot(sample(), sample()).dataSync()[0]).toBe(1 + 4 + 16 + 25)
    expect(tree.norm(sample()).dataSync()[0]).toBeCloseTo(Math.sqrt(46), 5)
    expect(tree.size(sample())).toBe(5)
  })

  it('pack and unpack are inverse to each other', async () => {
    const { vector, unpack } = tree.pack(sample())
    expect(Array.from(vector.dataSync())).toEqual([4, 5, 1, 2])
    const back = unpack(tf.mul(vector, 2) as tf.Tensor1D)
    expect(await back.b[0].array()).toEqual([2, 4])
    expect(back.b[1].dtype).toBe('int32')
  })

  it.each([NaN, Infinity, -Infinity])('allFinite finds %s', (value) => {
    expect(tree.allFinite(sample()).dataSync()[0]).toBe(1)
    expect(tree.allFinite([sample(), tf.tensor1d([0, value])]).dataSync()[0]).toBe(0)
  })
})

describe('ownership', () => {
  it('dispose frees a shared leaf once', () => {
    const before = tf.memory().numTensors
    const leaf = tf.scalar(1)
    tree.dispose([leaf, { again: leaf }], undefined)
    expect(tf.memory().numTensors).toBe(before)
  })

  it('a scope frees all but what it keeps', () => {
    const before = tf.memory().numTensors
    const make = (): tf.Tensor => {
      using s = tree.scope()
      const x = tf.ones([3])
      return s.keep(tf.add(x, 1))
    }
    const kept = make()
    expect(tf.memory().numTensors - before).toBe(1)
    expect(Array.from(kept.dataSync())).toEqual([2, 2, 2])
  })

  it('signature is equal exactly for equal structure, dtypes and shapes', () => {
    expect(tree.signature({ a: tf.zeros([2]), b: tf.zeros([3]) })).toBe(tree.signature({ b: tf.ones([3]), a: tf.ones([2]) }))
    expect(tree.signature({ a: tf.zeros([2]) })).not.toBe(tree.signature({ a: tf.zeros([2], 'int32') }))
    expect(tree.signature([tf.zeros([2])])).not.toBe(tree.signature({ 0: tf.zeros([2]) }))
  })
})
