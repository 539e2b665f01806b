import * as tf from '@tensorflow/tfjs-core'
import { it } from 'vitest'
import '/work/main/packages/backend-onnx/src/index'
process.getBuiltinModule('node:v8').setFlagsFromString('--expose-gc'); const gc = process.getBuiltinModule('node:vm').runInNewContext('gc'); const rss = () => { gc(); return Math.round(process.memoryUsage().rss / 2 ** 20) }
it('arena', async () => {
  await tf.setBackend('onnx')
  console.log('start', rss())
  for (let i = 0; i < 20; i++) {
    const x = tf.fill([4_000_000 + i], 1)
    const y = tf.add(x, 1)
    const z = tf.exp(y)
    tf.dispose([x, y, z])
  }
  console.log('20 shapes of 16 MB x 2 kernels', rss())
  for (const n of [100_000, 1_000_000, 4_000_000]) {
    const x = tf.fill([n], 1)
    const t: number[] = []
    for (let i = 0; i < 60; i++) { const s = performance.now(); tf.dispose(tf.add(x, x)); t.push(performance.now() - s) }
    console.log(n, 'add ms', t.sort((a, b) => a - b)[30].toFixed(2))
  }
  const a = tf.ones([512, 512])
  const t: number[] = []
  for (let i = 0; i < 60; i++) { const s = performance.now(); tf.dispose(tf.matMul(a, a)); t.push(performance.now() - s) }
  console.log('matmul 512', t.sort((p, q) => p - q)[30].toFixed(2))
  console.log('end', rss())
}, 60000)
