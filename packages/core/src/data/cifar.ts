import type { HostArray } from './host-array'
import { malformed } from './malformed'

const side = 32
const plane = side * side
const pixels = 3 * plane

/** Copies images of three planes (channel, row, column) to row, column, channel. */
function interleave(bytes: Uint8Array, recordSize: number, labelSize: number): Uint8Array {
  const count = bytes.length / recordSize
  const images = new Uint8Array(count * pixels)
  for (let record = 0; record < count; record++) {
    const source = record * recordSize + labelSize
    const target = record * pixels
    for (let i = 0; i < plane; i++) {
      images[target + 3 * i] = bytes[source + i]
      images[target + 3 * i + 1] = bytes[source + plane + i]
      images[target + 3 * i + 2] = bytes[source + 2 * plane + i]
    }
  }
  return images
}

function readRecords(bytes: Uint8Array, classes: readonly number[], file: string): { images: HostArray; labels: HostArray[] } {
  const recordSize = pixels + classes.length
  if (bytes.length === 0 || bytes.length % recordSize !== 0) {
    const whole = bytes.length - (bytes.length % recordSize)
    throw malformed(file, whole, `records of ${recordSize} bytes`, `${bytes.length - whole} bytes in the last; is the file truncated?`)
  }
  const count = bytes.length / recordSize
  const labels = classes.map((limit, column) => {
    const data = new Uint8Array(count)
    for (let record = 0; record < count; record++) {
      const offset = record * recordSize + column
      if (bytes[offset] >= limit) throw malformed(file, offset, `a label below ${limit}`, String(bytes[offset]))
      data[record] = bytes[offset]
    }
    return { data, shape: [count] }
  })
  return { images: { data: interleave(bytes, recordSize, classes.length), shape: [count, side, side, 3] }, labels }
}

/**
 * Reads a batch file of CIFAR-10's binary version.
 *
 * @param bytes - the whole file (`data_batch_1.bin`), records of one label and 3,072 pixel bytes
 * @param file - its name, for errors
 * @returns `images` [n, 32, 32, 3] bytes, `labels` [n]
 * @throws DataError with file, offset and what was expected
 */
export function parseCifar10(bytes: Uint8Array, file = 'CIFAR-10 file'): { images: HostArray; labels: HostArray } {
  const { images, labels } = readRecords(bytes, [10], file)
  return { images, labels: labels[0] }
}

/**
 * Reads a file of CIFAR-100's binary version.
 *
 * @param bytes - the whole file (`train.bin`), records of a coarse label, a fine label and 3,072 pixel bytes
 * @param file - its name, for errors
 * @returns `images` [n, 32, 32, 3] bytes, `labels` [n] (100 classes), `coarseLabels` [n] (20 classes)
 * @throws DataError with file, offset and what was expected
 */
export function parseCifar100(
  bytes: Uint8Array,
  file = 'CIFAR-100 file',
): { images: HostArray; labels: HostArray; coarseLabels: HostArray } {
  const { images, labels } = readRecords(bytes, [20, 100], file)
  return { images, labels: labels[1], coarseLabels: labels[0] }
}
