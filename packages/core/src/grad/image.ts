import * as tf from '@tensorflow/tfjs-core'
import { composed, define, filled, sizes } from './define'
import { scatterWindows } from './windows'

type Resize = { alignCorners: boolean; halfPixelCenters: boolean }

/** [to, from]: how each output position mixes the input positions along one axis. */
function interpolationMatrix(to: number, from: number, isBilinear: boolean, { alignCorners, halfPixelCenters }: Resize): tf.Tensor2D {
  const ratio = alignCorners && to > 1 ? (from - 1) / (to - 1) : from / to
  const clamp = (at: number): number => Math.min(from - 1, Math.max(0, at))
  const values = new Float32Array(to * from)
  for (let i = 0; i < to; i++) {
    if (isBilinear) {
      const at = clamp(halfPixelCenters ? ratio * (i + 0.5) - 0.5 : ratio * i)
      const low = Math.floor(at)
      values[i * from + low] += 1 - (at - low)
      values[i * from + Math.ceil(at)] += at - low
    } else {
      const at = ratio * (halfPixelCenters ? i + 0.5 : i)
      values[i * from + clamp(alignCorners ? Math.round(at) : Math.floor(at))] = 1
    }
  }
  return tf.tensor2d(values, [to, from])
}

/** Repeating every pixel a whole number of times: the gradients of the copies are summed. */
function repeatGradient(dy: tf.Tensor, images: tf.Tensor): tf.Tensor {
  const [batch, height, width, channels] = sizes(images)
  const [, toHeight, toWidth] = sizes(dy)
  const rows = tf.sum(tf.reshape(dy, [batch, height, toHeight / height, toWidth * channels]), 2)
  return tf.sum(tf.reshape(rows, [batch, height, width, toWidth / width, channels]), 3)
}

/**
 * Resizing is linear and separable: two products with the transposed interpolation matrices. TensorFlow.js's own
 * gradient kernels ignore half-pixel centres and are wrong for images that aren't square.
 */
function resizeGradient(dy: tf.Tensor, images: tf.Tensor, isBilinear: boolean, attributes: Resize): tf.Tensor {
  const [batch, height, width, channels] = sizes(images)
  const [, toHeight, toWidth] = sizes(dy)
  const isRepeat = toHeight % height === 0 && toWidth % width === 0
  if (!isBilinear && !attributes.alignCorners && isRepeat) return repeatGradient(dy, images)
  const rows = interpolationMatrix(toHeight, height, isBilinear, attributes)
  const columns = interpolationMatrix(toWidth, width, isBilinear, attributes)
  const widthLast = tf.reshape(tf.transpose(dy, [0, 1, 3, 2]), [batch * toHeight * channels, toWidth])
  const narrow = tf.reshape(tf.matMul(widthLast, columns), [batch, toHeight, channels, width])
  const heightLast = tf.reshape(tf.transpose(narrow, [0, 3, 2, 1]), [batch * width * channels, toHeight])
  return tf.transpose(tf.reshape(tf.matMul(heightLast, rows), [batch, width, channels, height]), [0, 3, 1, 2])
}

function resize(kernel: 'ResizeBilinear' | 'ResizeNearestNeighbor'): tf.GradConfig {
  return define<Resize>({
    kernel,
    save: ['images'],
    gradients: (dy, [images], attributes) => ({ images: () => resizeGradient(dy, images, kernel === 'ResizeBilinear', attributes) }),
  })
}

/**
 * Reads `image` at real-valued positions, differentiably in the image and, where bilinear, in the positions.
 *
 * @param image - [batch, height, width, channels]
 * @param batchIndex - int32, which image, broadcast against y and x
 * @param y - row positions, any shape
 * @param x - column positions, same shape
 * @param fill - the value outside the image, pixel by pixel
 * @returns [...shape of y, channels]
 */
function sample(image: tf.Tensor, batchIndex: tf.Tensor, y: tf.Tensor, x: tf.Tensor, fill: number, isBilinear: boolean): tf.Tensor {
  const [, height, width, channels] = image.shape
  const pixels = tf.reshape(image, [image.size / channels, channels])
  const read = (row: tf.Tensor, column: tf.Tensor): tf.Tensor => {
    const isInside = tf.logicalAnd(
      tf.logicalAnd(tf.greaterEqual(row, 0), tf.lessEqual(row, height - 1)),
      tf.logicalAnd(tf.greaterEqual(column, 0), tf.lessEqual(column, width - 1)),
    )
    const at = tf.add(tf.mul(tf.clipByValue(row, 0, height - 1), width), tf.clipByValue(column, 0, width - 1))
    const flat = tf.add(tf.cast(at, 'int32'), tf.mul(batchIndex, tf.scalar(height * width, 'int32')))
    const inside = tf.expandDims(tf.cast(isInside, 'float32'), -1)
    return tf.add(tf.mul(tf.gather(pixels, flat), inside), tf.mul(tf.sub(1, inside), fill))
  }
  if (!isBilinear) return read(roundHalfUp(y), roundHalfUp(x))
  const [top, left] = [tf.floor(y), tf.floor(x)]
  const [bottom, right] = [tf.add(top, 1), tf.add(left, 1)]
  const down = tf.expandDims(tf.sub(y, top), -1)
  const across = tf.expandDims(tf.sub(x, left), -1)
  const mix = (a: tf.Tensor, b: tf.Tensor, weight: tf.Tensor): tf.Tensor => tf.add(a, tf.mul(tf.sub(b, a), weight))
  return mix(mix(read(top, left), read(top, right), across), mix(read(bottom, left), read(bottom, right), across), down)
}

/** JavaScript's Math.round, which the kernels use; tf.round goes to even. */
function roundHalfUp(x: tf.Tensor): tf.Tensor {
  return tf.floor(tf.add(x, 0.5))
}

type CropAndResize = { cropSize: [number, number]; method: 'bilinear' | 'nearest'; extrapolationValue: number }

/** The rows (or columns) of the image that a crop reads: [boxes, count]. */
function cropPositions(from: tf.Tensor, to: tf.Tensor, size: number, count: number): tf.Tensor {
  if (count === 1) return tf.mul(tf.add(from, to), 0.5 * (size - 1))
  const steps = tf.reshape(tf.range(0, count), [1, count])
  return tf.add(tf.mul(from, size - 1), tf.mul(tf.mul(tf.sub(to, from), (size - 1) / (count - 1)), steps))
}

function cropAndResize(image: tf.Tensor, boxes: tf.Tensor, boxIndices: tf.Tensor, attributes: CropAndResize): tf.Tensor {
  const { cropSize, method, extrapolationValue } = attributes
  const [, height, width] = image.shape
  const [y1, x1, y2, x2] = tf.split(boxes, 4, 1)
  const count = boxes.shape[0]
  const y = tf.mul(tf.reshape(cropPositions(y1, y2, height, cropSize[0]), [count, cropSize[0], 1]), filled([1, 1, cropSize[1]], 1))
  const x = tf.mul(tf.reshape(cropPositions(x1, x2, width, cropSize[1]), [count, 1, cropSize[1]]), filled([1, cropSize[0], 1], 1))
  const isInside = tf.logicalAnd(
    tf.logicalAnd(tf.greaterEqual(y, 0), tf.lessEqual(y, height - 1)),
    tf.logicalAnd(tf.greaterEqual(x, 0), tf.lessEqual(x, width - 1)),
  )
  // A crop's position counts as outside as a whole, so nothing is filled in pixel by pixel.
  const values = sample(
    image,
    tf.reshape(boxIndices, [count, 1, 1]),
    tf.clipByValue(y, 0, height - 1),
    tf.clipByValue(x, 0, width - 1),
    0,
    method === 'bilinear',
  )
  const inside = tf.expandDims(tf.cast(isInside, 'float32'), -1)
  return tf.add(tf.mul(values, inside), tf.mul(tf.sub(1, inside), extrapolationValue))
}

type Transform = {
  interpolation: 'nearest' | 'bilinear'
  fillMode: 'constant' | 'reflect' | 'wrap' | 'nearest'
  fillValue: number
  outputShape?: [number, number] | null
}

/** Brings positions outside [0, size) back into it, as the fill mode says. */
function foldPositions(at: tf.Tensor, size: number, mode: Transform['fillMode']): tf.Tensor {
  if (mode === 'constant') return at
  const clamp = (inside: tf.Tensor): tf.Tensor => tf.clipByValue(inside, 0, size - 1)
  if (mode === 'nearest' || size <= 1) return clamp(at)
  const below = tf.less(at, 0)
  const above = tf.greater(at, size - 1)
  if (mode === 'wrap') {
    const fromBelow = tf.add(at, tf.mul(tf.add(tf.floor(tf.div(tf.neg(at), size - 1)), 1), size))
    const fromAbove = tf.sub(at, tf.mul(tf.floor(tf.div(at, size - 1)), size))
    return clamp(tf.where(below, fromBelow, tf.where(above, fromAbove, at)))
  }
  const period = 2 * size
  const raised = tf.add(at, tf.mul(tf.floor(tf.div(tf.neg(at), period)), period))
  const fromBelow = tf.where(tf.less(raised, -size), tf.add(raised, period), tf.sub(-1, raised))
  const lowered = tf.sub(at, tf.mul(tf.floor(tf.div(at, period)), period))
  const fromAbove = tf.where(tf.greaterEqual(lowered, size), tf.sub(period - 1, lowered), lowered)
  return clamp(tf.where(below, fromBelow, tf.where(above, fromAbove, at)))
}

/** Each output pixel (x, y) reads the image at ((a x + b y + c) / w, (d x + e y + f) / w) with w = g x + h y + 1. */
function transform(image: tf.Tensor, transforms: tf.Tensor, attributes: Transform): tf.Tensor {
  const { interpolation, fillMode, fillValue, outputShape } = attributes
  const [batch, height, width] = image.shape
  const [rows, columns] = outputShape ?? [height, width]
  const [a, b, c, d, e, f, g, h] = tf.split(tf.reshape(transforms, [transforms.shape[0], 1, 8]), 8, 2)
  const outX = tf.reshape(tf.range(0, columns), [1, 1, columns])
  const outY = tf.reshape(tf.range(0, rows), [1, rows, 1])
  const project = (u: tf.Tensor, v: tf.Tensor, w: tf.Tensor | number): tf.Tensor => tf.add(tf.add(tf.mul(u, outX), tf.mul(v, outY)), w)
  const w = project(g, h, 1)
  const isInfinite = tf.equal(w, 0)
  const scale = tf.where(isInfinite, tf.onesLike(w), w)
  const all = filled([batch, rows, columns], 1)
  const x = tf.mul(foldPositions(tf.div(project(a, b, c), scale), width, fillMode), all)
  const y = tf.mul(foldPositions(tf.div(project(d, e, f), scale), height, fillMode), all)
  const which = tf.reshape(tf.range(0, batch, 1, 'int32'), [batch, 1, 1])
  const values = sample(image, which, y, x, fillValue, interpolation === 'bilinear')
  const finite = tf.expandDims(tf.sub(1, tf.cast(isInfinite, 'float32')), -1)
  return tf.add(tf.mul(values, finite), tf.mul(tf.sub(1, finite), fillValue))
}

type Rotate = { radians: number; fillValue: number | number[]; center: number | [number, number] }

/** For each pixel of the rotated image the flat pixel of the original it shows, or -1. */
function rotatedPositions(height: number, width: number, { radians, center }: Rotate): number[] {
  const [centreX, centreY] = tf.backend_util.getImageCenter(center, height, width)
  const [sin, cos] = [Math.sin(radians), Math.cos(radians)]
  return Array.from({ length: height * width }, (_, at) => {
    const dx = (at % width) - centreX
    const dy = Math.floor(at / width) - centreY
    const x = Math.round(dx * cos - dy * sin + centreX)
    const y = Math.round(dx * sin + dy * cos + centreY)
    return x >= 0 && x < width && y >= 0 && y < height ? y * width + x : -1
  })
}

export const imageGradients: tf.GradConfig[] = [
  resize('ResizeBilinear'),
  resize('ResizeNearestNeighbor'),
  composed<CropAndResize>('CropAndResize', ['image', 'boxes'], ['boxInd'], ([image, boxes, boxIndices], attributes) =>
    cropAndResize(image, boxes, boxIndices, attributes),
  ),
  composed<Transform>('Transform', ['image', 'transforms'], [], ([image, transforms], attributes) =>
    transform(image, transforms, attributes),
  ),
  define<Rotate>({
    kernel: 'RotateWithOffset',
    save: ['image'],
    gradients: (dy, [image], attributes) => ({
      image: () => {
        const [, height, width] = image.shape
        const table = rotatedPositions(height, width, attributes).map((at) => [at])
        return scatterWindows(dy, table, image.shape)
      },
    }),
  }),
]
