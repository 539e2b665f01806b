import type { DataAccess, LabelledImages } from './access'

/** Images as a classifier takes them: pixels in [0, 1] (then standardised), channels last, and their classes. */
export interface ImageSet {
  x: { data: Float32Array; shape: readonly number[] }
  y: Int32Array
  classes: number
}

/** Which images, and how they are prepared; see {@link imageSets}. */
export interface ImageSetOptions {
  /** The first so many training images. */
  train: number
  /** The first so many test images. */
  test: number
  /** Averages squares of so many pixels first. Default 1: none. */
  pool?: number
  /** (x − mean) / stddev after scaling to [0, 1]. Default 0 and 1. */
  mean?: number
  stddev?: number
  /** Rows of pixels [n, height · width] in place of images [n, height, width, 1]. Default false. */
  flatten?: boolean
}

function prepare(images: LabelledImages, from: number, count: number, options: ImageSetOptions): ImageSet {
  const { pool = 1, mean = 0, stddev = 1, flatten = false } = options
  const [height, width] = [Math.floor(images.height / pool), Math.floor(images.width / pool)]
  const data = new Float32Array(count * height * width)
  const scale = 1 / (images.maxValue * pool * pool * stddev)
  for (let i = 0; i < count; i++) {
    const source = (from + i) * images.height * images.width
    for (let row = 0; row < height; row++) {
      for (let column = 0; column < width; column++) {
        let sum = 0
        for (let y = 0; y < pool; y++) {
          for (let x = 0; x < pool; x++) sum += images.images[source + (row * pool + y) * images.width + column * pool + x]
        }
        data[(i * height + row) * width + column] = sum * scale - mean / stddev
      }
    }
  }
  return {
    x: { data, shape: flatten ? [count, height * width] : [count, height, width, 1] },
    y: images.labels.slice(from, from + count),
    classes: images.classNames.length,
  }
}

/**
 * Training and test images: Fashion-MNIST where it is on this machine, else the 10,000 MNIST digits (four fifths of
 * them to train), so that a preset runs everywhere.
 */
export async function imageSets(data: DataAccess, options: ImageSetOptions): Promise<{ name: string; train: ImageSet; test: ImageSet }> {
  const name = await data.firstFound(['fashion-mnist', 'mnist-10k'])
  if (name === 'fashion-mnist') {
    const [train, test] = [await data.load(name, 'train'), await data.load(name, 'test')]
    return {
      name,
      train: prepare(train, 0, Math.min(options.train, train.count), options),
      test: prepare(test, 0, Math.min(options.test, test.count), options),
    }
  }
  const all = await data.load(name, 'all')
  const count = Math.min(options.train, Math.floor(0.8 * all.count))
  return {
    name,
    train: prepare(all, 0, count, options),
    test: prepare(all, count, Math.min(options.test, all.count - count), options),
  }
}

/** The rows `from` to `to` of a set. */
export function slice({ x, y, classes }: ImageSet, from: number, to: number): ImageSet {
  const size = x.data.length / y.length
  return {
    x: { data: x.data.subarray(from * size, to * size), shape: [to - from, ...x.shape.slice(1)] },
    y: y.subarray(from, to),
    classes,
  }
}
