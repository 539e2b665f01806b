import * as tf from '@tensorflow/tfjs-core'
import { OnnxBackend } from '../src/backend'
import { viewKernels } from '../src/fallback-kernels'
import { trace, type Traced, type TensorSpec } from '../src/trace'

type Result = tf.TensorInfo | tf.TensorInfo[]

/** What this file replaces in the backend. */
interface Inside {
  runSession(kernel: string, inputs: tf.NamedTensorInfoMap, attrs: tf.NamedAttrMap | undefined): Result
  runKernel(kernel: string, cpu: tf.KernelFunc | undefined, inputs: tf.NamedTensorInfoMap, attrs: tf.NamedAttrMap | undefined): Result
}

/** Functions kept, by kernel, attributes, shapes and dtypes. */
const cacheLimit = 512

interface Compiled {
  traced: Traced
  /** Of each result whether it is complex, and so comes as two. */
  complex: boolean[]
  list: boolean
}

function realParts(backend: OnnxBackend, tensor: tf.TensorInfo): tf.TensorInfo[] {
  const { complexTensorInfos } = backend.entry(tensor.dataId)
  return complexTensorInfos === undefined ? [tensor] : [complexTensorInfos.real, complexTensorInfos.imag]
}

function isNumeric(inputs: tf.NamedTensorInfoMap): boolean {
  return Object.values(inputs).every(
    (tensor) => tensor === undefined || (tensor.dtype !== 'string' && tf.util.sizeFromShape(tensor.shape) > 0),
  )
}

function attributesKey(attrs: unknown): string {
  return JSON.stringify(attrs, (_, value: unknown) => (typeof value === 'number' ? String(value) : value))
}

/**
 * Runs every kernel call as a compiled function of one kernel: symbolic inputs, a graph, a session. Of every fourth call
 * that has several inputs the last one is captured, as a constant in the graph.
 */
export function compileEachKernel(): void {
  const inside = OnnxBackend.prototype as unknown as Inside
  // The tests make a new backend for each suite, and what is compiled belongs to one.
  const caches = new WeakMap<OnnxBackend, Map<string, Compiled>>()
  let calls = 0

  const { runKernel, runSession } = inside
  // The tests count tensors and buffers, which views share: here the compiled view is only compared with the real one.
  inside.runKernel = function (this: OnnxBackend, kernel, cpu, inputs, attrs) {
    const result = runKernel.call(this, kernel, cpu, inputs, attrs)
    if (!viewKernels.has(kernel) || this.tracer !== undefined || !isNumeric(inputs)) return result
    const compiledResult = inside.runSession.call(this, kernel, inputs, attrs) as tf.TensorInfo
    for (const [i, part] of realParts(this, compiledResult).entries()) {
      const expected = realParts(this, result as tf.TensorInfo)[i]
      const [got, wanted] = [part, expected].map(
        ({ dataId, shape }) => `[${shape.join()}] ${Array.from(this.entry(dataId).values as Float32Array).join()}`,
      )
      if (got !== wanted) throw new Error(`compiled ${kernel} gives ${got}, expected ${wanted}`)
    }
    this.disposeIntermediateTensorInfo(compiledResult)
    return result
  }

  inside.runSession = function (this: OnnxBackend, kernel, inputs, attrs) {
    if (this.tracer !== undefined) return runSession.call(this, kernel, inputs, attrs)
    const given = Object.entries(inputs).filter((pair): pair is [string, tf.TensorInfo] => pair[1] !== undefined)
    const cache = caches.get(this) ?? new Map<string, Compiled>()
    caches.set(this, cache)
    calls++
    const captured = calls % 4 === 0 && given.length > 1 ? given[given.length - 1][0] : undefined
    const key = `${kernel}|${attributesKey(attrs)}|${given.map(([name, { dtype, shape }]) => `${name}:${dtype}[${shape.join()}]`).join()}`
    let compiled = captured === undefined ? cache.get(key) : undefined
    const fed = given.filter(([name]) => name !== captured)
    const tensors = fed.flatMap(([, tensor]) => realParts(this, tensor))
    if (compiled === undefined) {
      let complex: boolean[] = []
      let list = false
      const specs = tensors.map(({ dtype, shape }): TensorSpec => ({ dtype: dtype as 'float32', shape }))
      const traced = trace((...symbols) => {
        const wrap = (info: tf.TensorInfo): tf.Tensor => tf.engine().makeTensorFromTensorInfo(info)
        let next = 0
        const symbolic = given.map(([name, tensor]): [string, tf.TensorInfo] => {
          if (name === captured) return [name, tensor]
          if (tensor.dtype !== 'complex64') return [name, symbols[next++]]
          const parts = { real: symbols[next++], imag: symbols[next++] }
          return [name, wrap(this.runKernel('Complex', undefined, parts, undefined) as tf.TensorInfo)]
        })
        const named = Object.assign(Array.isArray(inputs) ? [] : {}, Object.fromEntries(symbolic)) as unknown as tf.NamedTensorInfoMap
        const result = this.runKernel(kernel, undefined, named, attrs)
        list = Array.isArray(result)
        const outputs = [result].flat().map(wrap)
        complex = outputs.map(({ dtype }) => dtype === 'complex64')
        return outputs.flatMap((output) => {
          if (output.dtype !== 'complex64') return [output]
          return ['Real', 'Imag'].map((part) => wrap(this.runKernel(part, undefined, { input: output }, undefined) as tf.TensorInfo))
        })
      }, specs)
      compiled = { traced, complex, list }
      if (captured === undefined) cache.set(key, compiled)
      if (cache.size > cacheLimit) {
        const [oldest, { traced: old }] = cache.entries().next().value as [string, Compiled]
        cache.delete(oldest)
        old.dispose()
      }
    }
    const results = compiled.traced.run(tensors as tf.Tensor[])
    if (captured !== undefined) compiled.traced.dispose()
    // The caller counts tensors: it gets plain values.
    const plain = results.map((tensor) => ({ values: this.entry(tensor.dataId).values, shape: tensor.shape, dtype: tensor.dtype }))
    tf.dispose(results)
    let next = 0
    const make = (): tf.TensorInfo => {
      const { values, shape, dtype } = plain[next++]
      return this.makeTensorInfo(shape, dtype, values)
    }
    const infos = compiled.complex.map((isComplex) => {
      if (!isComplex) return make()
      const [real, imag] = [make(), make()]
      const info = this.makeTensorInfo(real.shape, 'complex64')
      this.entry(info.dataId).complexTensorInfos = { real, imag }
      return info
    })
    return compiled.list ? infos : infos[0]
  }
}
