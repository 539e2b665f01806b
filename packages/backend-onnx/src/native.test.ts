import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { findBinding, platformPackage } from './native'

/** `require` where these packages are installed. */
function installed(...names: string[]): (path: string) => unknown {
  return (path) => {
    const name = names.find((candidate) => path === candidate || path.startsWith(`${candidate}/`))
    if (name === undefined)
      throw Object.assign(new Error(`Cannot find module '${path}'\nRequire stack:\n- …`), { code: 'MODULE_NOT_FOUND' })
    return { loadedFrom: path }
  }
}

beforeEach(() => {
  vi.spyOn(process, 'platform', 'get').mockReturnValue('linux')
  vi.spyOn(process, 'arch', 'get').mockReturnValue('arm64')
})
afterEach(() => void vi.restoreAllMocks())

describe('findBinding', () => {
  it('prefers the package of the platform', () => {
    expect(platformPackage()).toBe('@bpf/ort-linux-arm64')
    expect(findBinding(installed('@bpf/ort-linux-arm64', 'onnxruntime-node'), undefined)).toEqual({
      from: '@bpf/ort-linux-arm64',
      binding: { loadedFrom: '@bpf/ort-linux-arm64' },
    })
  })

  it("falls back to the user's onnxruntime-node", () => {
    expect(findBinding(installed('onnxruntime-node'), '')).toEqual({
      from: 'onnxruntime-node',
      binding: { loadedFrom: 'onnxruntime-node/bin/napi-v6/linux/arm64/onnxruntime_binding.node' },
    })
  })

  it('takes onnxruntime-node, and only that, where BPF_ORT asks for it', () => {
    expect(findBinding(installed('@bpf/ort-linux-arm64', 'onnxruntime-node'), 'onnxruntime-node').from).toBe('onnxruntime-node')
    expect(() => findBinding(installed('@bpf/ort-linux-arm64'), 'onnxruntime-node')).toThrow(
      'no ONNX Runtime for linux-arm64 (onnxruntime-node is not installed). Run: npm i onnxruntime-node',
    )
  })

  it('says what to install when there is neither', () => {
    expect(() => findBinding(installed(), undefined)).toThrow(
      expect.objectContaining({
        name: 'BackendError',
        message:
          'no ONNX Runtime for linux-arm64 (@bpf/ort-linux-arm64 is not installed; onnxruntime-node is not installed). ' +
          'Run: npm i @bpf/ort-linux-arm64, or npm i onnxruntime-node',
      }),
    )
  })

  it('tells a library that does not load from one that is missing', () => {
    const load = (): unknown => {
      throw Object.assign(new Error("version `GLIBC_2.28' not found"), { code: 'ERR_DLOPEN_FAILED' })
    }
    expect(() => findBinding(load, undefined)).toThrow("@bpf/ort-linux-arm64 does not load: version `GLIBC_2.28' not found")
  })

  it('refuses another BPF_ORT', () => {
    expect(() => findBinding(installed('onnxruntime-node'), 'onnxruntime')).toThrow(
      "BPF_ORT: expected onnxruntime-node or nothing, got 'onnxruntime'",
    )
  })
})
