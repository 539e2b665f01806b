import * as tf from '@tensorflow/tfjs-core'
import type { KernelCounts, OnnxBackend } from '../src/backend'
import { fallbackKernels } from '../src/fallback-kernels'

/** The suite has no test that calls them; src/lowerings/image.test.ts does. */
const notInSuite = new Set(['RotateWithOffset'])

/** Sums the kernel counts of all backend instances: the tests make a new one for each suite. */
export function countKernels(): void {
  const seen = new Set<KernelCounts>()
  globalThis.conformance.afterSpec = () => {
    const backend = (tf.engine() as unknown as { registry: Record<string, OnnxBackend | undefined> }).registry.onnx
    if (backend !== undefined) seen.add(backend.counts)
  }
  globalThis.conformance.counts = () => {
    const total: KernelCounts = { native: {}, fallback: {} }
    for (const counts of seen) {
      for (const way of ['native', 'fallback'] as const) {
        for (const [kernel, count] of Object.entries(counts[way])) total[way][kernel] = (total[way][kernel] ?? 0) + count
      }
    }
    const needed = tf
      .getKernelsForBackend('cpu')
      .map(({ kernelName }) => kernelName)
      .filter((kernel) => !(kernel in fallbackKernels || notInSuite.has(kernel)))
    return { ...total, neverNative: needed.filter((kernel) => total.native[kernel] === undefined).sort() }
  }
}
