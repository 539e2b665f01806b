/** Labels written into the inputs, as the forward-only methods take them. */
import { ShapeError, type Key } from '@bpf/core'
import { randint } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { oneHot } from './labelled'

function withFirst(x: tf.Tensor, first: tf.Tensor): tf.Tensor {
  const classes = first.shape[1] ?? 0
  checkEmbeddable('embedLabels', x.shape[1] ?? 0, classes)
  return tf.concat([first, tf.slice(x, [0, classes], [-1, -1])], 1)
}

/** @throws ShapeError when rows of `inputs` values have no room for `classes` of them */
export function checkEmbeddable(where: string, inputs: number, classes: number): void {
  if (classes > inputs) {
    throw new ShapeError(`${where}: can't embed ${classes} labels in ${inputs} inputs; rows must be at least as long as there are classes`)
  }
}

/**
 * Rows whose first C values are replaced by the one-hot label.
 *
 * @param x - [n, d]
 * @param y - class indices [n], int32
 * @returns [n, d]
 * @throws ShapeError when classes exceed d
 */
export function embedLabels(x: tf.Tensor, y: tf.Tensor, classes: number): tf.Tensor {
  return tf.tidy(() => withFirst(x, oneHot(y, classes)))
}

/**
 * Rows whose first C values are all `value`: no label is told.
 *
 * @param x - [n, d]
 * @returns [n, d]
 * @throws ShapeError when classes exceed d
 */
export function embedNeutral(x: tf.Tensor, classes: number, value = 0.1): tf.Tensor {
  return tf.tidy(() => withFirst(x, tf.fill([x.shape[0], classes], value)))
}

/**
 * Wrong labels, each equally likely: (y + r) mod C with r uniform on 1 … C − 1.
 *
 * @param y - class indices [n], int32
 * @returns [n], int32
 */
export function negativeLabels(y: tf.Tensor, classes: number, key: Key): tf.Tensor {
  return tf.tidy(() => {
    const shift = randint(key, y.shape, { low: 1, high: classes })
    return tf.mod(tf.add(tf.cast(y, 'int32'), shift), tf.scalar(classes, 'int32'))
  })
}
