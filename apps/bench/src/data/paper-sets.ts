/** Image sets that the papers' own set-ups need and that are not shipped: read from the user's folders. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { DataError } from '@bpf/core'
import type { HostArray } from '@bpf/core/data'
import { readCifar10, readCifar100, readIdx } from '@bpf/core/node'
import type { DataAccess } from './access'
import type { ImageSet } from './image-sets'
import { parseMat } from './mat-file'

/** A set that is read from the user's folders. */
export type PaperSetName = 'mnist' | 'cifar-10' | 'cifar-100' | 'svhn' | 'stl-10'

/** Pixels of both parts, in [0, 1] and then standardised by channel. */
export interface PaperSetOptions {
  /** The first so many training images. Default all. */
  train?: number
  /** The first so many test images. Default all. */
  test?: number
  /** (x − mean) / stddev of each channel. Default 0 and 1. */
  mean?: readonly number[]
  stddev?: readonly number[]
}

/** Bytes [n, height, width, channels] and classes. */
interface Pixels {
  data: ArrayLike<number>
  shape: readonly number[]
  labels: ArrayLike<number>
}

interface PaperSetSource {
  title: string
  /** Also looked for in this folder of the user's folders. */
  folder: string
  /** Training files, then test files. */
  files: readonly string[]
  home: string
  classes: number
  read(paths: readonly string[]): Promise<{ train: Pixels; test: Pixels }>
}

const pixelsOf = (images: HostArray, labels: HostArray): Pixels => ({
  data: images.data as ArrayLike<number>,
  shape: images.shape.length === 3 ? [...images.shape, 1] : images.shape,
  labels: labels.data as ArrayLike<number>,
})

function bytesOf(path: string): Uint8Array {
  const bytes = readFileSync(path)
  return path.endsWith('.gz') ? gunzipSync(bytes) : bytes
}

/** MATLAB's [32, 32, 3, n], first axis fastest; the digit 0 is class 10 there. */
function svhnPixels(path: string): Pixels {
  const { X, y } = parseMat(bytesOf(path), path)
  if (X?.shape.length !== 4 || y?.shape[0] !== X.shape[3]) {
    throw new DataError(`${path}: expected arrays X [height, width, 3, n] and y [n, 1]`)
  }
  const [height, width, channels, n] = X.shape
  const data = new Uint8Array(X.data.length)
  for (let i = 0, at = 0; i < n; i++) {
    for (let row = 0; row < height; row++) {
      for (let column = 0; column < width; column++) {
        for (let c = 0; c < channels; c++) data[at++] = X.data[row + height * (column + width * (c + channels * i))]
      }
    }
  }
  return { data, shape: [n, height, width, channels], labels: y.data.map((label) => label % 10) }
}

/** [n, 3, 96, 96] with columns before rows; classes 1 … 10. */
function stlPixels(images: string, labels: string): Pixels {
  const [source, classes] = [bytesOf(images), bytesOf(labels)]
  const size = 96
  const n = source.length / (3 * size * size)
  if (n !== classes.length) throw new DataError(`${images}: holds ${n} images of 96 × 96 × 3, ${labels} ${classes.length} labels`)
  const data = new Uint8Array(source.length)
  for (let i = 0, at = 0; i < n; i++) {
    for (let row = 0; row < size; row++) {
      for (let column = 0; column < size; column++) {
        for (let c = 0; c < 3; c++) data[at++] = source[((i * 3 + c) * size + column) * size + row]
      }
    }
  }
  return { data, shape: [n, size, size, 3], labels: classes.map((label) => label - 1) }
}

const sources: Readonly<Record<PaperSetName, PaperSetSource>> = {
  mnist: {
    title: 'MNIST',
    folder: 'mnist',
    files: ['train-images-idx3-ubyte', 'train-labels-idx1-ubyte', 't10k-images-idx3-ubyte', 't10k-labels-idx1-ubyte'],
    home: 'yann.lecun.com/exdb/mnist',
    classes: 10,
    async read(paths) {
      const [x, y, testX, testY] = await Promise.all(paths.map((path) => readIdx(path)))
      return { train: pixelsOf(x, y), test: pixelsOf(testX, testY) }
    },
  },
  'cifar-10': {
    title: 'CIFAR-10, binary version',
    folder: 'cifar-10-batches-bin',
    files: [...[1, 2, 3, 4, 5].map((i) => `data_batch_${i}.bin`), 'test_batch.bin'],
    home: 'www.cs.toronto.edu/~kriz/cifar.html',
    classes: 10,
    async read(paths) {
      const [train, test] = [await readCifar10(paths.slice(0, 5)), await readCifar10(paths.slice(5))]
      return { train: pixelsOf(train.images, train.labels), test: pixelsOf(test.images, test.labels) }
    },
  },
  'cifar-100': {
    title: 'CIFAR-100, binary version',
    folder: 'cifar-100-binary',
    files: ['train.bin', 'test.bin'],
    home: 'www.cs.toronto.edu/~kriz/cifar.html',
    classes: 100,
    async read(paths) {
      const [train, test] = await Promise.all(paths.map((path) => readCifar100(path)))
      return { train: pixelsOf(train.images, train.labels), test: pixelsOf(test.images, test.labels) }
    },
  },
  svhn: {
    title: 'Street View House Numbers, cropped',
    folder: 'svhn',
    files: ['train_32x32.mat', 'test_32x32.mat'],
    home: 'ufldl.stanford.edu/housenumbers',
    classes: 10,
    read: ([train, test]) => Promise.resolve({ train: svhnPixels(train), test: svhnPixels(test) }),
  },
  'stl-10': {
    title: 'STL-10, binary version',
    folder: 'stl10_binary',
    files: ['train_X.bin', 'train_y.bin', 'test_X.bin', 'test_y.bin'],
    home: 'cs.stanford.edu/~acoates/stl10',
    classes: 10,
    read: ([x, y, testX, testY]) => Promise.resolve({ train: stlPixels(x, y), test: stlPixels(testX, testY) }),
  },
}

/** The files of a set in one of the user's folders, plain or gzipped. */
function pathsOf({ folders }: DataAccess, { folder, files }: PaperSetSource): string[] | undefined {
  for (const place of folders.flatMap((candidate) => [candidate, join(candidate, folder)])) {
    const paths = files.map((file) => [file, `${file}.gz`].map((name) => join(place, name)).find((path) => existsSync(path)))
    if (paths.every((path) => path !== undefined)) return paths
  }
  return undefined
}

/** Whether a set's files are in one of the user's folders. */
export function hasPaperSet(data: DataAccess, name: PaperSetName): boolean {
  return pathsOf(data, sources[name]) !== undefined
}

/**
 * Those of the sets whose files are in the user's folders.
 *
 * @throws DataError that names the files of all when none is there
 */
export function foundPaperSets<Name extends PaperSetName>(data: DataAccess, names: readonly Name[]): Name[] {
  const found = names.filter((name) => hasPaperSet(data, name))
  if (found.length > 0) return found
  throw new DataError(
    `none of ${names.map(paperSetFiles).join('; ')} was found in ${data.folders.join(', ') || 'any folder'}; get the files of one or more and name their folder with --data-dir`,
  )
}

/** `MNIST (train-images-idx3-ubyte, …; yann.lecun.com/exdb/mnist)`, for messages. */
export function paperSetFiles(name: PaperSetName): string {
  const { title, files, home } = sources[name]
  return `${title} (${files.join(', ')}; ${home})`
}

function prepared(
  { data, shape, labels }: Pixels,
  classes: number,
  count: number,
  { mean = [0], stddev = [1] }: PaperSetOptions,
): ImageSet {
  const n = Math.min(count, shape[0])
  const size = shape.slice(1).reduce((product, length) => product * length, 1)
  const channels = shape[shape.length - 1]
  const x = new Float32Array(n * size)
  for (let i = 0; i < x.length; i++) {
    const c = i % channels
    x[i] = (data[i] / 255 - mean[c % mean.length]) / stddev[c % stddev.length]
  }
  return { x: { data: x, shape: [n, ...shape.slice(1)] }, y: Int32Array.from({ length: n }, (_, i) => labels[i]), classes }
}

/**
 * A set of a paper from the user's folders.
 *
 * @returns images [n, height, width, channels] in the published order
 * @throws DataError that names the files, where they come from and the option that names their folder
 */
export async function paperSet(
  data: DataAccess,
  name: PaperSetName,
  options: PaperSetOptions = {},
): Promise<{ train: ImageSet; test: ImageSet }> {
  const source = sources[name]
  const paths = pathsOf(data, source)
  if (paths === undefined) {
    throw new DataError(
      `${paperSetFiles(name)} was not found in ${data.folders.join(', ') || 'any folder'}; get the files and name their folder with --data-dir`,
    )
  }
  const { train, test } = await source.read(paths)
  return {
    train: prepared(train, source.classes, options.train ?? Infinity, options),
    test: prepared(test, source.classes, options.test ?? Infinity, options),
  }
}
