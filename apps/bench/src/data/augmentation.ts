import { uniformArray, type Key } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'

/** What is done to each training image at random. */
export interface AugmentationOptions {
  /** Crops of the image's size, after so many pixels of background on each side. */
  padding: number
  /** Mirrors half of the images. Default true. */
  flip?: boolean
  /** Covers a square of so many pixels with background, at a random place, cut off at the border. Default none. */
  cutout?: number
  /** A background pixel after standardising, by channel. Default 0. */
  background?: readonly number[]
}

/** Images and what belongs to them. */
export type AugmentedBatch = { x: tf.Tensor; y: tf.Tensor }

/**
 * Random crops, flips and cutout for `map` over batches of images [n, height, width, channels].
 *
 * @returns copies of the batch; unchanged without a key, as in a validation
 */
export function augmentation({ padding, flip = true, cutout = 0, background = [0] }: AugmentationOptions) {
  return function augmented({ x, y }: AugmentedBatch, key: Key | undefined): AugmentedBatch {
    if (key === undefined) return { x: x.clone(), y: y.clone() }
    const [n, height, width, channels] = x.shape as [number, number, number, number]
    const source = x.dataSync()
    const out = Float32Array.from(source, (_, i) => background[(i % channels) % background.length])
    const blank = out.slice(0, channels)
    const draws = uniformArray(key, 5 * n)
    for (let i = 0; i < n; i++) {
      const [down, right] = [0, 1].map((axis) => Math.floor(draws[5 * i + axis] * (2 * padding + 1)) - padding)
      const isMirrored = flip && draws[5 * i + 2] < 0.5
      const put = (row: number, column: number, pixel: ArrayLike<number>): void => {
        const place = isMirrored ? width - 1 - column : column
        out.set(pixel, ((i * height + row) * width + place) * channels)
      }
      for (let row = Math.max(0, -down); row < Math.min(height, height - down); row++) {
        for (let column = Math.max(0, -right); column < Math.min(width, width - right); column++) {
          const from = ((i * height + row + down) * width + column + right) * channels
          put(row, column, source.subarray(from, from + channels))
        }
      }
      if (cutout === 0) continue
      const [top, left] = [height, width].map((size, axis) => Math.floor(draws[5 * i + 3 + axis] * size) - (cutout >> 1))
      for (let row = Math.max(0, top); row < Math.min(height, top + cutout); row++) {
        for (let column = Math.max(0, left); column < Math.min(width, left + cutout); column++) put(row, column, blank)
      }
    }
    return { x: tf.tensor(out, x.shape), y: y.clone() }
  }
}
