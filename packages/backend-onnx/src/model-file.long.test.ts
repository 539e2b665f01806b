import * as tf from '@tensorflow/tfjs-core'
import { execFile, execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import './index'
import { exportOnnx, loadOnnx } from './model-file'

/** A convolutional classifier of batches of any size, with a shape computed from the batch. */
function classifier(x: tf.Tensor): tf.Tensor[] {
  const features = tf.relu(tf.conv2d(x as tf.Tensor4D, wave([3, 3, 2, 4], 1) as tf.Tensor4D, 1, 'same'))
  const pooled = tf.maxPool(features as tf.Tensor4D, 2, 2, 'same')
  const flat = tf.reshape(pooled, [pooled.shape[0], -1])
  const withConstant = tf.concat([flat, tf.onesLike(flat)], 1)
  const logits = tf.matMul(withConstant as tf.Tensor2D, wave([72, 5], 2) as tf.Tensor2D)
  return [tf.softmax(logits), tf.argMax(logits, -1)]
}

function wave(shape: number[], phase: number): tf.Tensor {
  return tf.tensor(
    Float32Array.from({ length: tf.util.sizeFromShape(shape) }, (_, i) => Math.sin(i * 1.7 + phase)),
    shape,
  )
}

const folder = mkdtempSync(join(tmpdir(), 'bpf-onnx-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const shape = [7, 6, 6, 2]
let expected: number[][]

beforeAll(async () => {
  await tf.setBackend('onnx')
  const x = wave(shape, 3)
  expected = classifier(x).map((tensor) => Array.from(tensor.dataSync()))
  const bytes = exportOnnx(classifier, [{ shape: [2, ...shape.slice(1)], dtype: 'float32' }], { inputNames: ['x'], dynamicBatch: true })
  expect(loadOnnx(bytes)(x).map((tensor) => Array.from(tensor.dataSync()))).toHaveLength(2)
  writeFileSync(join(folder, 'model.onnx'), bytes)
  writeFileSync(join(folder, 'x.json'), JSON.stringify(Array.from(x.dataSync())))
})

function expectClose(outputs: number[][]): void {
  expect(outputs.map((values) => values.length)).toEqual(expected.map((values) => values.length))
  outputs.forEach((values, i) => values.forEach((value, j) => expect(Math.abs(value - expected[i][j])).toBeLessThan(1e-5)))
}

describe('an exported file, by others', () => {
  it("runs in onnxruntime-web, the browser's runtime", { timeout: 300_000 }, async () => {
    const program = `
      import * as ort from 'onnxruntime-web/wasm'
      import { readFileSync } from 'node:fs'
      ort.env.wasm.numThreads = 1
      const session = await ort.InferenceSession.create(new Uint8Array(readFileSync('model.onnx')))
      const x = new ort.Tensor('float32', Float32Array.from(JSON.parse(readFileSync('x.json', 'utf8'))), ${JSON.stringify(shape)})
      const results = await session.run({ x })
      console.log(JSON.stringify(session.outputNames.map((name) => Array.from(results[name].data, Number))))
    `
    writeFileSync(join(folder, 'package.json'), '{ "private": true }')
    writeFileSync(join(folder, 'run.mjs'), program)
    await promisify(execFile)('npm', ['install', '--no-audit', '--no-fund', 'onnxruntime-web@1.30.0'], { cwd: folder, shell: true })
    const { stdout } = await promisify(execFile)(process.execPath, ['run.mjs'], { cwd: folder })
    expectClose(JSON.parse(stdout) as number[][])
  })

  const python = process.env.BPF_PEER_PYTHON ?? 'python3'
  it.runIf(imports(python, 'onnx'))("passes the checker of Python's onnx, which finds nothing unused", () => {
    const program = `
import onnx
model = onnx.load('model.onnx')
onnx.checker.check_model(model, full_check=True)
used = {name for node in model.graph.node for name in node.input}
print(len([tensor for tensor in model.graph.initializer if tensor.name not in used]), model.graph.output[0].type.tensor_type.shape.dim[0].dim_param)
`
    expect(execFileSync(python, ['-c', program], { cwd: folder, encoding: 'utf8' })).toBe('0 batch\n')
  })
})

function imports(python: string, module: string): boolean {
  try {
    execFileSync(python, ['-c', `import ${module}`], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}
