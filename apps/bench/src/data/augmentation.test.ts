import { useBackend } from '@bpf/core'
import { key } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import { augmentation } from './augmentation'

beforeAll(async () => void (await useBackend('cpu')))

const n = 40
const images = () => ({
  x: tf.tensor(
    Float32Array.from({ length: n * 24 }, (_, i) => 1 + (i % 24)),
    [n, 3, 4, 2],
  ),
  y: tf.range(0, n),
})

describe('augmentation', () => {
  it('without a key copies', () => {
    const batch = images()
    const { x, y } = augmentation({ padding: 1 })(batch, undefined)
    expect(x.dataSync()).toEqual(batch.x.dataSync())
    expect(y.dataSync()).toEqual(batch.y.dataSync())
    tf.dispose([batch, x, y])
  })

  it('moves every image by at most the padding, mirrors half, and keeps labels', () => {
    const batch = images()
    const { x, y } = augmentation({ padding: 1, background: [-1, -2] })(batch, key(3))
    const values = x.dataSync()
    const seen = { moved: 0, mirrored: 0 }
    for (let i = 0; i < n; i++) {
      // The pixel in the middle row, second column is 11, 12 where it stands.
      const image = values.subarray(i * 24, (i + 1) * 24)
      const at = image.indexOf(11) / 2
      const [row, column] = [Math.floor(at / 4), at % 4]
      expect(image[2 * at + 1]).toBe(12)
      expect(Math.abs(row - 1)).toBeLessThanOrEqual(1)
      const next = image.indexOf(13) / 2
      const isMirrored = next === at - 1
      expect(next === at + 1 || isMirrored).toBe(true)
      expect(Math.abs((isMirrored ? 3 - column : column) - 1)).toBeLessThanOrEqual(1)
      if (isMirrored) seen.mirrored++
      if (image.includes(-1)) seen.moved++
    }
    expect(seen.mirrored).toBeGreaterThan(10)
    expect(seen.mirrored).toBeLessThan(30)
    expect(seen.moved).toBeGreaterThan(25)
    expect(y.dataSync()).toEqual(batch.y.dataSync())
    tf.dispose([batch, x, y])
  })

  it('covers a square with background', () => {
    const batch = images()
    const { x, y } = augmentation({ padding: 0, flip: false, cutout: 2 })(batch, key(4))
    const values = x.dataSync()
    for (let i = 0; i < n; i++) {
      const image = [...values.subarray(i * 24, (i + 1) * 24)]
      const covered = image.flatMap((value, at) => (value === 0 ? [at] : []))
      // Two by two pixels of two channels, fewer at the border.
      expect([2, 4, 8]).toContain(covered.length)
      image.forEach((value, at) => expect(value === 0 || value === 1 + at).toBe(true))
    }
    tf.dispose([batch, x, y])
  })
})
