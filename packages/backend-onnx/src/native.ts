import { createRequire } from 'node:module'
import { isMainThread } from 'node:worker_threads'
import { Tensor } from 'onnxruntime-common'
import { backendError, optionError } from './errors'

/** A tensor as the native library takes and gives it. */
export interface NativeTensor {
  readonly type: string
  readonly dims: readonly number[]
  readonly data: ArrayBufferView
}

/** Options of a native session; names are ONNX Runtime's. */
export interface SessionOptions {
  graphOptimizationLevel?: 'disabled' | 'basic' | 'extended' | 'all'
  intraOpNumThreads?: number
  /** False frees the memory of a run when it ends; by default the session keeps it for the next. */
  enableCpuMemArena?: boolean
  /** Keep transposes where they are: right for graphs with convolutions, slower for others. */
  keepLayout?: boolean
  executionProviders?: readonly string[]
}

/** What a model says of one of its inputs or outputs; `type` is the number of ONNX, an open axis −1. */
export interface NativeMetadata {
  readonly name: string
  readonly isTensor: boolean
  readonly type: number
  readonly shape: readonly number[]
  readonly symbolicDimensions: readonly string[]
}

/** A loaded graph; `run` is synchronous. */
export interface NativeSession {
  run(feeds: Record<string, NativeTensor>): Record<string, NativeTensor>
  dispose(): void
  readonly inputs: readonly NativeMetadata[]
  readonly outputs: readonly NativeMetadata[]
}

interface RawSession {
  loadModel(buffer: ArrayBufferLike, offset: number, length: number, options: object): void
  run(feeds: Record<string, unknown>, fetches: Record<string, null>, options: object): Record<string, NativeTensor>
  dispose(): void
  readonly inputMetadata: readonly NativeMetadata[]
  readonly outputMetadata: readonly NativeMetadata[]
}

interface Binding {
  InferenceSession: new () => RawSession
  initOrtOnce(logLevel: number, tensor: unknown, isMainThread: boolean): void
  listSupportedBackends(): { name: string; bundled: boolean }[]
}

const require = createRequire(import.meta.url)
let loaded: { binding: Binding; from: string } | undefined

/** The npm package that carries the native library for this platform. */
export function platformPackage(): string {
  return `@bpf/ort-${process.platform}-${process.arch}`
}

/** Where the binding may come from, the preferred first. */
function candidates(wanted: string | undefined): { from: string; path: string }[] {
  const packaged = { from: platformPackage(), path: platformPackage() }
  const { platform, arch } = process
  const installed = { from: 'onnxruntime-node', path: `onnxruntime-node/bin/napi-v6/${platform}/${arch}/onnxruntime_binding.node` }
  if (wanted === undefined || wanted === '') return [packaged, installed]
  if (wanted === installed.from) return [installed]
  throw optionError(`BPF_ORT: expected onnxruntime-node or nothing, got '${wanted}'`)
}

/**
 * Finds ONNX Runtime's binding: in the package of this platform, else in an installed `onnxruntime-node`. With
 * `BPF_ORT=onnxruntime-node` only there: that is how CUDA comes in.
 *
 * @param load - `require`
 * @throws BackendError saying what to install when there is none
 */
export function findBinding(load: (path: string) => unknown, wanted: string | undefined): { binding: Binding; from: string } {
  const places = candidates(wanted)
  const reasons: string[] = []
  for (const { from, path } of places) {
    try {
      return { binding: load(path) as Binding, from }
    } catch (error) {
      const missing = (error as NodeJS.ErrnoException).code === 'MODULE_NOT_FOUND'
      reasons.push(`${from} ${missing ? 'is not installed' : `does not load: ${(error as Error).message.split('\n')[0]}`}`)
    }
  }
  const commands = places.map(({ from }) => `npm i ${from}`).join(', or ')
  throw backendError(`no ONNX Runtime for ${process.platform}-${process.arch} (${reasons.join('; ')}). Run: ${commands}`)
}

/** Loads the binding, once. @throws as {@link findBinding} */
export function loadNative(): { binding: Binding; from: string } {
  if (loaded !== undefined) return loaded
  const found = findBinding(require, process.env.BPF_ORT)
  // Level 3: errors only. Warnings about unused initialisers and the like would go to the user's stderr.
  found.binding.initOrtOnce(3, Tensor, isMainThread)
  loaded = found
  return loaded
}

/** The npm package the native library was loaded from. @throws Error saying what to install when there is none */
export function nativePackage(): string {
  return loadNative().from
}

/** Wraps values for the native library without copying. */
export function nativeTensor(type: string, data: ArrayBufferView, dims: readonly number[]): NativeTensor {
  return new Tensor(type as 'float32', data as Float32Array, dims) as unknown as NativeTensor
}

/** Loads a model into a session. @param outputs - what a run gives; undefined for all outputs of the model */
export function createSession(model: Uint8Array, outputs: readonly string[] | undefined, options: SessionOptions): NativeSession {
  const { binding } = loadNative()
  const session = new binding.InferenceSession()
  const threads = options.intraOpNumThreads ?? 1
  session.loadModel(model.buffer, model.byteOffset, model.byteLength, {
    executionProviders: options.executionProviders ?? ['cpu'],
    graphOptimizationLevel: options.graphOptimizationLevel ?? 'basic',
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    enableCpuMemArena: options.enableCpuMemArena ?? true,
    logSeverityLevel: 3,
    extra: {
      // ONNX Runtime's own pass over transposes undoes the layout that the lowerings of convolutions chose.
      ...(options.keepLayout === true ? { optimization: { disable_specified_optimizers: 'TransposeOptimizer' } } : {}),
      // Pools of several sessions would fight over the cores: onnx-facts, traps.
      ...(threads > 1 ? { session: { force_spinning_stop: '1' } } : {}),
    },
  })
  const names = outputs ?? session.outputMetadata.map(({ name }) => name)
  const fetches = Object.fromEntries(names.map((name) => [name, null]))
  return {
    // Read on demand: eager kernels make many sessions and never ask.
    get inputs() {
      return session.inputMetadata
    },
    get outputs() {
      return session.outputMetadata
    },
    run: (feeds) => session.run(feeds as Record<string, unknown>, fetches, {}),
    dispose: () => session.dispose(),
  }
}
