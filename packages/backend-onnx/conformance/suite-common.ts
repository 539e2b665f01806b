import '@tensorflow/tfjs-core/dist/register_all_gradients.js'
import '@tensorflow/tfjs-core/dist/public/chained_ops/register_all_chained_ops.js'
import { setTestEnvs } from '@tensorflow/tfjs-core/dist/jasmine_util.js'

export function testBackend(backendName: string): void {
  setTestEnvs([{ name: backendName, backendName, isDataSync: true }])
}
