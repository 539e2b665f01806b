import '@tensorflow/tfjs-core/dist/register_all_gradients.js'
import '@tensorflow/tfjs-core/dist/public/chained_ops/register_all_chained_ops.js'
import { setTestEnvs } from '@tensorflow/tfjs-core/dist/jasmine_util.js'
import type { KernelCounts } from '../src/backend'

declare global {
  /** What run.mjs and the suites tell each other. */
  var conformance: {
    /** Whether each kernel call is to run as a compiled function. */
    compiled: boolean
    /** Folder of the wasm backend's binaries. */
    binaries: string
    counts: () => KernelCounts & { neverNative: string[] }
    afterSpec: () => void
  }
}

export function testBackend(backendName: string): void {
  setTestEnvs([{ name: backendName, backendName, isDataSync: true }])
}
