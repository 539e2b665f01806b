import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, expect, it } from 'vitest'
import { useBackend } from '../backend'
import { compile } from '../compile'
import { whileLoop } from '../control'
import * as random from './index'
import type { Key } from './index'

beforeAll(() => useBackend('onnx'))

const draws: Record<string, (key: Key) => tf.Tensor> = {
  bits: (key) => random.bits(key, [7, 3]),
  uniform: (key) => random.uniform(key, [1001]),
  'uniform on a range': (key) => random.uniform(key, [1000], { low: -0.3, high: 2.7 }),
  normal: (key) => random.normal(key, [501, 3]),
  'normal with mean and deviation': (key) => random.normal(key, [1000], { mean: 1.3, stddev: 0.7 }),
  gumbel: (key) => random.gumbel(key, [2000]),
  rademacher: (key) => random.rademacher(key, [100]),
  bernoulli: (key) => random.bernoulli(key, [1000], 0.3),
  categorical: (key) =>
    random.categorical(
      key,
      tf.tensor2d([
        [0, 1, 2],
        [3, 0, 0],
      ]),
      { samples: 50 },
    ),
  'a key of a split': (key) => random.uniform(random.split(random.fold(key, 3), 4)[2], [10]),
}

it.each(Object.keys(draws))('%s inside the graph has the bits of the host', (name) => {
  const draw = draws[name]
  const inGraph = compile((key: Key, index: tf.Tensor) => draw(random.fold(key, index)))
  for (const index of [0, 5, 123456789]) {
    const expected = draw(random.fold(random.key(11), index)).dataSync()
    expect(inGraph(random.key(11), tf.scalar(index, 'int32')).dataSync()).toEqual(expected)
  }
})

it('a loop of unknown length draws by its own counter', () => {
  const walk = (key: Key) =>
    whileLoop(
      ({ x }: { x: tf.Tensor; n: tf.Tensor }) => tf.less(x, 3),
      ({ x, n }) => ({ x: tf.add(x, tf.reshape(random.uniform(random.fold(key, n), [1]), [])), n: tf.add(n, tf.scalar(1, 'int32')) }),
      { x: tf.scalar(0) as tf.Tensor, n: tf.scalar(0, 'int32') as tf.Tensor },
    ).x
  expect(compile(walk)(random.key(3)).dataSync()).toEqual(walk(random.key(3)).dataSync())
})

it('says so where a draw cannot be made inside the graph', () => {
  const f = compile((key: Key, index: tf.Tensor) => random.gamma(random.fold(key, index), [3], 2))
  expect(() => f(random.key(0), tf.scalar(0, 'int32'))).toThrow('cannot be made inside a graph')
})
