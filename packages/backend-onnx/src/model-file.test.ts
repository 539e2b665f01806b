import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import './index'
import { graphScan } from './control'
import { exportOnnx, loadOnnx, type OnnxFunction } from './model-file'
import { hostInput } from './trace'

beforeAll(async () => {
  await tf.setBackend('onnx')
})

function random(shape: number[], seed: number): tf.Tensor {
  return tf.tensor(
    Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i * 1.7 + seed)),
    shape,
  )
}

function expectClose(found: tf.Tensor, expected: tf.Tensor): void {
  expect(found.dtype).toBe(expected.dtype)
  expect(found.shape).toEqual(expected.shape)
  const values = expected.dataSync()
  const scale = Math.max(1, ...values.map(Math.abs))
  found.dataSync().forEach((value, i) => expect(Math.abs(value - values[i]) / scale).toBeLessThan(1e-5))
}

const names = (ports: OnnxFunction['inputs']): string[] => ports.map(({ name }) => name)

/** Convolution, pooling, batch statistics, flattening, dense, softmax: a small image classifier. */
function classifier(): (x: tf.Tensor) => tf.Tensor[] {
  const filter = random([3, 3, 2, 4], 1) as tf.Tensor4D
  const kernel = tf.variable(random([3 * 3 * 4, 5], 2))
  const bias = random([5], 3)
  return (x) => {
    const conv = tf.relu(tf.conv2d(x as tf.Tensor4D, filter, 1, 'same'))
    const normal = tf.batchNorm(conv, random([4], 4), tf.abs(random([4], 5)), random([4], 6), random([4], 7))
    const pooled = tf.maxPool(normal as tf.Tensor4D, 2, 2, 'same')
    const flat = tf.reshape(pooled, [pooled.shape[0], -1])
    const logits = tf.add(tf.matMul(flat as tf.Tensor2D, kernel as tf.Tensor2D), bias)
    return [tf.softmax(logits), tf.argMax(logits, -1)]
  }
}

describe('exportOnnx and loadOnnx', () => {
  it('give the same function back, under the given names', () => {
    const f = classifier()
    const x = random([3, 6, 6, 2], 8)
    const model = loadOnnx(exportOnnx(f, [x], { inputNames: ['image'], outputNames: ['probabilities', 'label'] }))
    expect(model.inputs).toEqual([{ name: 'image', type: 'float32', shape: [3, 6, 6, 2] }])
    expect(names(model.outputs)).toEqual(['probabilities', 'label'])
    const found = model(x)
    f(x).forEach((expected, i) => expectClose(found[i], expected))
    model.dispose()
  })

  it('keep a variable as it was when it was exported', () => {
    const w = tf.variable(tf.tensor1d([1, 2]))
    const model = loadOnnx(exportOnnx((x) => tf.mul(x, w), [tf.ones([2])]))
    w.assign(tf.tensor1d([5, 5]))
    expect([...model(tf.ones([2]))[0].dataSync()]).toEqual([1, 2])
  })

  it('take and give int32 and bool, and pass an input through', () => {
    const f = (a: tf.Tensor, b: tf.Tensor): tf.Tensor[] => [tf.greater(a, 1), tf.logicalNot(b), tf.add(a, tf.scalar(2, 'int32')), a, a]
    const [a, b] = [tf.tensor1d([0, 1, 2], 'int32'), tf.tensor1d([true, false, true], 'bool')]
    const model = loadOnnx(exportOnnx(f, [a, b]))
    expect(names(model.inputs)).toEqual(['input_0', 'input_1'])
    const found = model(a, b)
    f(a, b).forEach((expected, i) => expectClose(found[i], expected))
  })

  it('leave no tensor behind', () => {
    const f = (x: tf.Tensor): tf.Tensor => tf.softmax(tf.mul(x, 2))
    const x = random([4, 3], 1)
    const before = tf.memory().numTensors
    const model = loadOnnx(exportOnnx(f, [x], { dynamicBatch: true }))
    expect(tf.memory().numTensors).toBe(before)
    tf.dispose(model(x))
    expect(tf.memory().numTensors).toBe(before)
  })

  it('survive names that the graph uses inside', () => {
    const model = loadOnnx(exportOnnx((x) => tf.relu(tf.mul(x, 3)), [tf.ones([2])], { inputNames: ['mul_2'], outputNames: ['const_1'] }))
    expect([...model(tf.tensor1d([-1, 2]))[0].dataSync()]).toEqual([0, 6])
  })
})

describe('dynamicBatch', () => {
  const cases: Record<string, { f: (...inputs: tf.Tensor[]) => tf.Tensor | tf.Tensor[]; shapes: number[][] }> = {
    'a convolutional classifier': { f: (x) => classifier()(x), shapes: [[6, 6, 2]] },
    'sums, means and centring over the batch': { f: (x) => [tf.sub(x, tf.mean(x, 0, true)), tf.mean(x), tf.sum(x, 1)], shapes: [[5]] },
    'sums and means of wide rows': { f: (x) => [tf.sub(x, tf.mean(x, 0, true)), tf.sum(x, 0, true)], shapes: [[300]] },
    'convolutions with few windows, a pool of ReLUs': {
      f: (x) => {
        const filter = (seed: number, inputs: number): tf.Tensor4D => random([3, 3, inputs, 32], seed) as tf.Tensor4D
        const y = tf.relu(tf.add(tf.conv2d(x as tf.Tensor4D, filter(1, 16), 1, 'same'), random([32], 2)))
        return tf.conv2d(tf.maxPool(y as tf.Tensor4D, 2, 2, 'valid'), filter(3, 32), 1, 'same')
      },
      shapes: [[5, 4, 16]],
    },
    'ones of the input’s shape, appended': { f: (x) => tf.concat([x, tf.onesLike(x)], 1), shapes: [[3]] },
    'every row twice': { f: (x) => tf.tile(x, [2, 1]), shapes: [[3]] },
    'all rows but the last': { f: (x) => tf.slice(x, [0, 0], [x.shape[0] - 1, 2]), shapes: [[3]] },
    'padding with rows': {
      f: (x) =>
        tf.pad(x, [
          [1, 2],
          [0, 0],
        ]),
      shapes: [[3]],
    },
    'pairs of rows': { f: (x) => tf.sum(tf.square(tf.sub(tf.expandDims(x, 1), tf.expandDims(x, 0))), 2), shapes: [[4]] },
    'attention within each example': {
      f: (x) => {
        const heads = tf.transpose(tf.reshape(x, [x.shape[0], 6, 2, 4]), [0, 2, 1, 3])
        const weights = tf.softmax(tf.matMul(heads, heads, false, true))
        return tf.reshape(tf.transpose(tf.matMul(weights, heads), [0, 2, 1, 3]), [x.shape[0], 6, 8])
      },
      shapes: [[6, 8]],
    },
    'two inputs': { f: (x, y) => tf.matMul(tf.reshape(x, [x.shape[0], 1, 3]), tf.reshape(y, [y.shape[0], 3, 2])), shapes: [[3], [6]] },
    'the batch size as a number': { f: (x) => tf.div(x, x.shape[0]), shapes: [[3]] },
    'one over the batch size': { f: (x) => tf.mul(x, 1 / (2 * x.shape[0])), shapes: [[3]] },
    'a loop over time': {
      f: (x) => {
        const steps = tf.transpose(x, [1, 0, 2])
        const { carries, outputs } = graphScan(
          ([h], [slice]) => ({ carries: [tf.tanh(tf.add(h, slice))], outputs: [tf.sum(h, 1)] }),
          [tf.zeros([x.shape[0], 4])],
          [steps],
          5,
        )
        return [...carries, ...outputs]
      },
      shapes: [[5, 4]],
    },
  }

  it.each(Object.entries(cases))('%s', (name, { f, shapes }) => {
    const bytes = exportOnnx(
      f,
      shapes.map((shape, i) => random([4, ...shape], i)),
      { dynamicBatch: true },
    )
    const model = loadOnnx(bytes)
    for (const { shape } of model.inputs) expect(shape[0]).toBe('batch')
    for (const batch of [1, 4, 17]) {
      const inputs = shapes.map((shape, i) => random([batch, ...shape], i + batch))
      const found = model(...inputs)
      if (name === 'a loop over time') {
        // Outside a trace there is no scan here: the file of one batch size is the reference.
        loadOnnx(exportOnnx(f, inputs))(...inputs).forEach((expected, i) => expectClose(found[i], expected))
        continue
      }
      const expected = f(...inputs)
      ;(Array.isArray(expected) ? expected : [expected]).forEach((tensor, i) => expectClose(found[i], tensor))
    }
    model.dispose()
  })

  it('names the operation that a table of the batch’s length goes into', () => {
    const ranked = (x: tf.Tensor): tf.Tensor => tf.add(x, tf.reshape(tf.range(0, x.shape[0]), [-1, 1]))
    expect(() => exportOnnx(ranked, [tf.ones([4, 3])], { dynamicBatch: true })).toThrow(
      /exportOnnx: dynamicBatch: input 1 of the operation Add depends on the batch size in a way that cannot be computed from it/,
    )
  })

  it('refuses a function that does other work for another batch', () => {
    const f = (x: tf.Tensor): tf.Tensor => (x.shape[0] > 1500 ? tf.relu(tf.neg(x)) : tf.neg(x))
    expect(() => exportOnnx(f, [tf.ones([4, 3])], { dynamicBatch: true })).toThrow('the function does other work for another batch size')
  })

  it('needs one batch for all inputs', () => {
    expect(() => exportOnnx((x, y) => [x, y], [tf.ones([4]), tf.ones([3])], { dynamicBatch: true })).toThrow(
      /of one length; got shapes \[4\], \[3\]/,
    )
    expect(() => exportOnnx((x) => x, [tf.scalar(1)], { dynamicBatch: true })).toThrow(/got shapes \[\]/)
  })
})

describe('errors', () => {
  it.each([
    [{ inputNames: ['a', 'b'] }, 'inputNames: expected 1 names, got 2: a, b'],
    [{ outputNames: [''] }, 'outputNames: expected different names'],
    [{ inputNames: ['x'], outputNames: ['x'] }, 'an input and an output have the same name: x'],
  ])('names %j', (options, message) => {
    expect(() => exportOnnx((x) => tf.neg(x), [tf.ones([2])], options)).toThrow(message)
  })

  it('a draw inside, a complex output, a string', () => {
    const draw = (x: tf.Tensor): tf.Tensor =>
      tf.add(
        x,
        hostInput({ shape: [2], dtype: 'float32' }, () => new Float32Array(2)),
      )
    expect(() => exportOnnx(draw, [tf.ones([2])])).toThrow('draws random numbers from a key')
    expect(() => exportOnnx((x) => tf.complex(x, x), [tf.ones([2])])).toThrow('an output is complex')
    expect(() => exportOnnx((x) => x, [tf.tensor1d(['a'])])).toThrow('sample 0: expected a float32, int32 or bool tensor, got string')
  })

  it('another backend', async () => {
    await tf.setBackend('cpu')
    try {
      expect(() => exportOnnx((x) => x, [{ shape: [2], dtype: 'float32' }])).toThrow("needs the backend 'onnx', in use is 'cpu'")
    } finally {
      await tf.setBackend('onnx')
    }
  })

  it('loading and calling', () => {
    expect(() => loadOnnx(new Uint8Array([1, 2, 3]))).toThrow(expect.objectContaining({ name: 'BackendError' }))
    const model = loadOnnx(exportOnnx((x) => tf.neg(x), [tf.ones([2, 3])], { inputNames: ['x'], dynamicBatch: true }))
    expect(() => model()).toThrow('expected 1 inputs (x), got 0')
    expect(() => model(tf.ones([2, 4]))).toThrow("input 'x': expected float32 [batch, 3], got float32 [2, 4]")
    expect(() => model(tf.ones([2, 3], 'int32'))).toThrow("input 'x': expected float32 [batch, 3], got int32 [2, 3]")
  })
})
