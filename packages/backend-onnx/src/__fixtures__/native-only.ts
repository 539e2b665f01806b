import { afterAll, beforeAll } from 'vitest'

/** In the test file that calls it, every kernel with a lowering runs natively, however small its inputs. */
export function forbidFallback(): void {
  const before = process.env.BPF_ONNX_FALLBACK
  beforeAll(() => {
    process.env.BPF_ONNX_FALLBACK = 'never'
  })
  afterAll(() => {
    if (before === undefined) delete process.env.BPF_ONNX_FALLBACK
    else process.env.BPF_ONNX_FALLBACK = before
  })
}
