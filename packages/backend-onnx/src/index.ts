import * as tf from '@tensorflow/tfjs-core'
import '@tensorflow/tfjs-backend-cpu'
import { OnnxBackend } from './backend'
import { compiler } from './compiler'
import { loweredKernels } from './lowering'
import './lowerings/convolution'
import './lowerings/elementwise'
import './lowerings/gather-scatter'
import './lowerings/image'
import './lowerings/matmul'
import './lowerings/normalisation'
import './lowerings/pooling'
import './lowerings/reduction'
import './lowerings/shape'
import './lowerings/sorting'
import './lowerings/special'
import './lowerings/spectral'

/** Registers the backend `onnx`: all kernels of the cpu backend, native where a lowering exists. */
function register(): void {
  if (tf.findBackend('onnx') !== null) return
  tf.registerBackend(
    'onnx',
    () => {
      const backend = new OnnxBackend()
      backend.compiler = compiler
      return backend
    },
    4,
  )
  const cpuKernels = new Map(tf.getKernelsForBackend('cpu').map((config) => [config.kernelName, config.kernelFunc]))
  for (const kernelName of new Set([...cpuKernels.keys(), ...loweredKernels()])) {
    const cpu = cpuKernels.get(kernelName)
    tf.registerKernel({
      kernelName,
      backendName: 'onnx',
      kernelFunc: ({ inputs, attrs, backend }) => (backend as OnnxBackend).runKernel(kernelName, cpu, inputs, attrs),
    })
  }
}

register()

export { isTracing, onnxBackend, trace, type Traced, type TensorSpec, type TraceOptions } from './trace'
export { graphCond, graphScan, graphWhile, type LoopResult, type StepResult } from './control'
export { setThreads, threads } from './backend'
export { nativePackage } from './native'
export { exportOnnx, loadOnnx, type ExportOptions, type LoadOptions, type OnnxFunction, type OnnxPort } from './model-file'
