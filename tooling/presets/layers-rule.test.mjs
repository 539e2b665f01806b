import { describe, expect, it } from 'vitest'
import { forbidden } from './layers-rule.mjs'

const root = '/repository'

describe('import directions', () => {
  it.each([
    ['packages/calibration/src/a.ts', '@bpf/core'],
    ['packages/calibration/src/a.ts', '@bpf/core/numerics'],
    ['packages/calibration/src/shared/a.ts', '../b'],
    ['packages/calibration/src/a.ts', '@tensorflow/tfjs-core'],
    ['packages/imaging/src/a.ts', '@bpf/diffusion'],
    ['packages/core/src/compile.ts', '@bpf/backend-onnx'],
    ['packages/backend-onnx/src/native.ts', '@bpf/ort-linux-x64'],
    ['packages/core/src/node/files.ts', 'node:fs'],
    ['packages/core/src/node/files.ts', '../errors'],
    ['packages/core/src/data/idx.test.ts', 'node:fs'],
    ['packages/core/src/data/idx.test.ts', '../node/files'],
    ['packages/core/tsup.config.mjs', '@bpf/tooling/tsup'],
    ['apps/bench/src/papers/60-h-calibration.ts', '@bpf/calibration'],
    ['apps/bench/src/main.ts', 'node:fs'],
  ])('%s may import %s', (file, source) => {
    expect(forbidden(root, file, source)).toBeUndefined()
  })

  it.each([
    ['packages/core/src/fit.ts', '@bpf/calibration', 'ort-* ← backend-onnx ← core'],
    ['packages/backend-onnx/src/a.ts', '@bpf/core', 'ort-* ← backend-onnx ← core'],
    ['packages/ort-linux-x64/src/a.ts', '@bpf/backend-onnx', 'ort-* ← backend-onnx ← core'],
    ['packages/calibration/src/a.ts', '@bpf/bayes', 'ort-* ← backend-onnx ← core'],
    ['packages/calibration/src/a.ts', '@bpf/backend-onnx', 'ort-* ← backend-onnx ← core'],
    ['packages/calibration/src/a.test.ts', '@bpf/bench', 'ort-* ← backend-onnx ← core'],
    ['packages/calibration/src/a.ts', '../../core/src/errors', 'leaves packages/calibration'],
    ['apps/bench/src/main.ts', '../../../packages/core/src/errors', 'leaves apps/bench'],
    ['packages/core/src/fit.ts', '@bpf/core/random', 'is this package itself'],
    ['packages/core/src/fit.ts', '@tensorflow/tfjs-core/dist/tensor', 'is not public'],
    ['packages/core/src/fit.ts', 'node:fs', 'is Node only'],
    ['packages/calibration/src/a.ts', 'fs', 'is Node only'],
    ['packages/core/src/fit.ts', './node/checkpoints', 'needs Node'],
    ['packages/core/src/data/index.ts', '../node', 'needs Node'],
  ])('%s may not import %s', (file, source, reason) => {
    expect(forbidden(root, file, source)).toContain(reason)
  })
})
