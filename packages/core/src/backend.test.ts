import * as tf from '@tensorflow/tfjs-core'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { ensureBackend, requireBackend, useBackend } from './backend'

const missing = (packageName: string): Promise<never> =>
  Promise.reject(Object.assign(new Error(`Cannot find package '${packageName}' imported from here`), { code: 'ERR_MODULE_NOT_FOUND' }))

function forget(): void {
  if (tf.findBackend('tensorflow') !== null) tf.removeBackend('tensorflow')
}

/** A stand-in for tfjs-node: registers a backend named `tensorflow` that is the cpu backend with a GPU flag. */
async function standIn(isUsingGpuDevice: boolean): Promise<void> {
  const cpu = await import('@tensorflow/tfjs-backend-cpu')
  class StandIn extends cpu.MathBackendCPU {
    isUsingGpuDevice = isUsingGpuDevice
  }
  forget()
  tf.registerBackend('tensorflow', () => Object.assign(new StandIn(), { firstUse: false }))
}

afterEach(() => {
  delete process.env.BPF_BACKEND
  forget()
})

describe('before any backend was chosen', () => {
  it('synchronous entry points say what to call', () => {
    expect(() => requireBackend()).toThrow('call await useBackend() once at start')
  })

  it('asynchronous entry points choose the default', async () => {
    expect((await ensureBackend()).name).toBe('onnx')
    expect(() => requireBackend()).not.toThrow()
  })
})

describe('useBackend', () => {
  it('takes the GPU package when it is installed and sees a GPU', async () => {
    const load = (name: string) => (name === '@tensorflow/tfjs-node-gpu' ? standIn(true) : missing(name))
    expect(await useBackend(undefined, { load })).toEqual({
      name: 'tensorflow',
      device: 'GPU',
      threads: 1,
      why: '@tensorflow/tfjs-node-gpu is installed and sees a GPU',
    })
  })

  it('takes the default when the GPU package sees none, or is not installed', async () => {
    const noGpu = (name: string) => (name === '@tensorflow/tfjs-node-gpu' ? standIn(false) : import(name))
    expect((await useBackend(undefined, { load: noGpu })).name).toBe('onnx')
    expect((await useBackend()).why).toBe('the best backend installed')
    expect(await useBackend(undefined, { load: missing })).toMatchObject({
      name: 'cpu',
      why: expect.stringContaining('run: npm i @bpf/backend-onnx') as string,
    })
  })

  it("takes CPU tfjs-node by the name 'tensorflow'", async () => {
    const load = (name: string) => (name === '@tensorflow/tfjs-node' ? standIn(false) : missing(name))
    expect(await useBackend('tensorflow', { load })).toMatchObject({
      device: 'CPU (TensorFlow)',
      why: 'asked for by name, from @tensorflow/tfjs-node',
    })
  })

  it('says what to install when a named backend is missing', async () => {
    await expect(useBackend('tensorflow', { load: missing })).rejects.toThrow('run: npm i @tensorflow/tfjs-node')
    await expect(useBackend('webgpu', { load: missing })).rejects.toThrow('run: npm i @tensorflow/tfjs-backend-webgpu')
    await expect(useBackend('onnx', { load: missing })).rejects.toThrow('run: npm i @bpf/backend-onnx')
  })

  it('reports an installed package that does not load as such', async () => {
    const broken = () => Promise.reject(new Error('libtensorflow.so.2: cannot open shared object file'))
    await expect(useBackend('tensorflow', { load: broken })).rejects.toThrow('is installed but does not load: libtensorflow.so.2')
  })

  it('supplies the functions of node:util that tfjs-node misses on Node 23 and later', async () => {
    const util = process.getBuiltinModule('node:util') as unknown as Record<string, unknown>
    const original = util.isNullOrUndefined
    delete util.isNullOrUndefined
    await useBackend('tensorflow', { load: () => standIn(false) })
    expect((util.isNullOrUndefined as (value: unknown) => boolean)(undefined)).toBe(true)
    util.isNullOrUndefined = original
  })

  it('obeys BPF_BACKEND and names it in errors', async () => {
    process.env.BPF_BACKEND = 'cpu'
    expect((await useBackend()).why).toBe('asked for by BPF_BACKEND')
    process.env.BPF_BACKEND = 'gpu'
    await expect(useBackend()).rejects.toThrow("BPF_BACKEND: unknown backend 'gpu'; expected one of tensorflow, onnx, wasm, cpu, webgpu")
  })

  it('takes the number of threads of onnx', async () => {
    const before = (await useBackend('onnx')).threads
    expect((await useBackend('onnx', { threads: 1 })).threads).toBe(1)
    expect((await useBackend('onnx', { threads: before })).threads).toBe(before)
    await expect(useBackend('onnx', { threads: 0 })).rejects.toThrow('threads must be a positive integer, got 0')
  })

  it('takes onnx by default in Node, names the library and its threads', async () => {
    expect(await useBackend('onnx')).toMatchObject({
      name: 'onnx',
      device: expect.stringMatching(/^CPU \(ONNX Runtime from @bpf\/ort-/) as string,
    })
  })

  it('starts wasm by name', async () => {
    expect(await useBackend('wasm')).toMatchObject({ name: 'wasm', device: 'CPU (WebAssembly)' })
    expect(tf.add(1, 2).dataSync()[0]).toBe(3)
  })

  it("keeps TensorFlow.js's advice to install another backend off the console", async () => {
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => undefined)
    await useBackend('cpu')
    tf.zeros([1]).dispose()
    expect(warn).not.toHaveBeenCalled()
    warn.mockRestore()
  })
})
