import * as tf from '@tensorflow/tfjs-core'
import { BackendError, OptionError } from './errors'
import { registerGradients } from './grad/registry'

/** Backends {@link useBackend} knows by name. */
export type BackendName = 'tensorflow' | 'onnx' | 'wasm' | 'cpu' | 'webgpu'

/** What {@link useBackend} chose. */
export interface BackendChoice {
  name: BackendName
  /** The processor in words, as the backend tells it. */
  device: string
  /** Threads one operation may use. */
  threads: number
  /** Why this backend was chosen. */
  why: string
}

/** Options of {@link useBackend}. */
export interface BackendOptions {
  /** Threads one operation of the `onnx` backend may use. Default all cores; other backends have their own setting. */
  threads?: number
  /** Where the `.wasm` files of `@tensorflow/tfjs-backend-wasm` are served from: a folder URL, or a URL per file name. */
  wasmPaths?: string | Record<string, string>
  /**
   * Loads an npm package by name; replaced in tests.
   * @internal
   */
  load?: (packageName: string) => Promise<unknown>
}

interface ProcessLike {
  env?: Record<string, string | undefined>
  versions?: { node?: string }
  getBuiltinModule?: (name: string) => unknown
}

const names: readonly BackendName[] = ['tensorflow', 'onnx', 'wasm', 'cpu', 'webgpu']
const nodeProcess = (globalThis as { process?: ProcessLike }).process
const inNode = nodeProcess?.versions?.node !== undefined

let chosen: BackendChoice | undefined
let choosing: Promise<BackendChoice> | undefined

/**
 * Chooses where tensors are computed: by name, by the environment variable `BPF_BACKEND`, or the best that is installed:
 * `tensorflow` when `@tensorflow/tfjs-node-gpu` is installed and sees a GPU, `onnx` in Node, `wasm` in a browser, else `cpu`.
 *
 * Call it once at the start. Asynchronous functions of this library (`fit`, `load`) call it themselves when nobody has.
 *
 * @param name - a backend by name: fails when it is not available; omitted, the best available one
 * @returns the choice with its reason
 * @throws OptionError for an unknown name, or threads that are no positive integer
 * @throws BackendError when the named backend is missing or fails to start; the message says what to install
 */
export async function useBackend(name?: BackendName, options: BackendOptions = {}): Promise<BackendChoice> {
  const fromEnvironment = nodeProcess?.env?.BPF_BACKEND
  const wanted = name ?? (fromEnvironment === undefined || fromEnvironment === '' ? undefined : fromEnvironment)
  if (wanted !== undefined && !isBackendName(wanted)) {
    const source = name === undefined ? 'BPF_BACKEND' : 'useBackend'
    throw new OptionError(`${source}: unknown backend '${wanted}'; expected one of ${names.join(', ')}`)
  }
  const { threads = 1 } = options
  if (!Number.isInteger(threads) || threads < 1) throw new OptionError(`useBackend: threads must be a positive integer, got ${threads}`)
  const why = name !== undefined ? 'asked for by name' : 'asked for by BPF_BACKEND'
  chosen = wanted === undefined ? await best(options) : await start(wanted, why, options)
  registerGradients()
  return chosen
}

function isBackendName(name: string): name is BackendName {
  return (names as readonly string[]).includes(name)
}

/**
 * The backend in use, chosen now if nobody has: for asynchronous entry points.
 */
export async function ensureBackend(): Promise<BackendChoice> {
  if (chosen !== undefined && tf.getBackend() === chosen.name) return chosen
  const current = currentTensorFlowBackend()
  if (current !== undefined) {
    registerGradients()
    return { name: current as BackendName, device: current, threads: 1, why: 'set by the program with tf.setBackend' }
  }
  choosing ??= useBackend().finally(() => (choosing = undefined))
  return choosing
}

/**
 * Checks that a backend was chosen: for synchronous entry points.
 *
 * @throws BackendError when none was
 */
export function requireBackend(): void {
  if (currentTensorFlowBackend() === undefined) throw new BackendError('No tensor backend yet: call await useBackend() once at start.')
}

function currentTensorFlowBackend(): string | undefined {
  // `tf.getBackend()` would start a registered backend as a side effect; the name stays undefined until one has started.
  return tf.engine().backendName || undefined
}

async function best(options: BackendOptions): Promise<BackendChoice> {
  if (inNode) {
    const gpu = await tryTensorFlow(['@tensorflow/tfjs-node-gpu'], options)
    if (gpu !== undefined && gpu.usesGpu) {
      await activate('tensorflow')
      return { name: 'tensorflow', device: 'GPU', threads: 1, why: '@tensorflow/tfjs-node-gpu is installed and sees a GPU' }
    }
    return firstThatStarts(['onnx', 'cpu'], 'the best backend installed', options)
  }
  return firstThatStarts(['wasm', 'cpu'], 'the default in a browser', options)
}

/** The first backend of a list that starts; a later one says why not the earlier. */
async function firstThatStarts(candidates: readonly BackendName[], why: string, options: BackendOptions): Promise<BackendChoice> {
  const [name, ...rest] = candidates
  try {
    return await start(name, why, options)
  } catch (error) {
    if (rest.length === 0 || !(error instanceof BackendError)) throw error
    return firstThatStarts(rest, `${name} did not start (${error.message})`, options)
  }
}

async function start(name: BackendName, why: string, options: BackendOptions): Promise<BackendChoice> {
  switch (name) {
    case 'cpu': {
      await import('@tensorflow/tfjs-backend-cpu')
      silenceBanner()
      await activate('cpu')
      return { name, device: 'CPU (JavaScript)', threads: 1, why }
    }
    case 'onnx': {
      const packageName = '@bpf/backend-onnx'
      let onnx: { threads(): number; setThreads(count: number): void; nativePackage(): string }
      try {
        onnx = (await load(packageName, options)) as typeof onnx
        onnx.nativePackage()
      } catch (error) {
        if (isMissing(error, packageName))
          throw new BackendError(`useBackend: the onnx backend is not installed; run: npm i ${packageName}`)
        throw new BackendError(`useBackend: ${message(error)}`)
      }
      await activate('onnx')
      if (options.threads !== undefined) onnx.setThreads(options.threads)
      return { name, device: `CPU (ONNX Runtime from ${onnx.nativePackage()})`, threads: onnx.threads(), why }
    }
    case 'wasm': {
      const wasm = await import('@tensorflow/tfjs-backend-wasm').catch((error: unknown) => {
        throw new BackendError(
          `useBackend: the wasm backend is not installed (${message(error)}); run: npm i @tensorflow/tfjs-backend-wasm`,
        )
      })
      if (options.wasmPaths !== undefined) wasm.setWasmPaths(options.wasmPaths)
      await activate('wasm')
      const threads = await threadCount(() => wasm.getThreadsCount())
      return { name, device: 'CPU (WebAssembly)', threads, why }
    }
    case 'tensorflow': {
      const packages = ['@tensorflow/tfjs-node-gpu', '@tensorflow/tfjs-node']
      const found = await tryTensorFlow(packages, options)
      if (found === undefined) {
        throw new BackendError(
          `useBackend: neither ${packages.join(' nor ')} is installed; run: npm i ${packages[1]} (or ${packages[0]} with CUDA)`,
        )
      }
      await activate('tensorflow')
      return { name, device: found.usesGpu ? 'GPU' : 'CPU (TensorFlow)', threads: 1, why: `${why}, from ${found.packageName}` }
    }
    case 'webgpu': {
      const packageName = '@tensorflow/tfjs-backend-webgpu'
      try {
        await load(packageName, options)
      } catch (error) {
        throw new BackendError(
          `useBackend: the webgpu backend is not available (${message(error)}); run: npm i ${packageName}, in a runtime with WebGPU`,
        )
      }
      await activate('webgpu')
      return { name, device: 'GPU (WebGPU)', threads: 1, why }
    }
  }
}

async function threadCount(read: () => number): Promise<number> {
  try {
    return read()
  } catch {
    // The backend throws until its threaded build has started; the single-threaded build never does.
    return 1
  }
}

async function activate(name: BackendName): Promise<void> {
  let started: boolean
  try {
    started = await tf.setBackend(name)
    await tf.ready()
  } catch (error) {
    throw new BackendError(`useBackend: the ${name} backend did not start: ${message(error)}`)
  }
  if (!started)
    throw new BackendError(
      `useBackend: the ${name} backend did not start; see TensorFlow.js's warning above, or choose another: ${names.join(', ')}`,
    )
}

/**
 * The cpu backend advises on first use to install tfjs-node, against our design and on stderr of every program.
 */
function silenceBanner(): void {
  const backend = tf.findBackend('cpu') as unknown as { firstUse?: boolean } | null
  if (backend !== null) backend.firstUse = false
}

async function tryTensorFlow(
  packages: readonly string[],
  options: BackendOptions,
): Promise<{ packageName: string; usesGpu: boolean } | undefined> {
  supplyRemovedUtilities()
  for (const packageName of packages) {
    try {
      await load(packageName, options)
    } catch (error) {
      if (isMissing(error, packageName)) continue
      throw new BackendError(`useBackend: ${packageName} is installed but does not load: ${message(error)}`)
    }
    const backend = tf.findBackend('tensorflow') as unknown as { isUsingGpuDevice?: boolean } | null
    if (backend !== null) return { packageName, usesGpu: backend.isUsingGpuDevice === true }
  }
  return undefined
}

function load(packageName: string, options: BackendOptions): Promise<unknown> {
  // A variable specifier keeps bundlers from looking for optional packages.
  return options.load === undefined ? import(/* @vite-ignore */ packageName) : options.load(packageName)
}

function isMissing(error: unknown, packageName: string): boolean {
  // Node gives a code, bundlers only words. A package that misses something else is installed but broken.
  const text = message(error).replaceAll('"', "'")
  return /^(Cannot find (package|module)|Could not resolve) /.test(text) && text.includes(`'${packageName}'`)
}

function message(error: unknown): string {
  return error instanceof Error ? error.message.split('\n')[0] : String(error)
}

/**
 * tfjs-node 4.22 calls functions of `node:util` that Node 23 removed (tensorflow/tfjs#8609, fixed but not released).
 */
function supplyRemovedUtilities(): void {
  const util = nodeProcess?.getBuiltinModule?.('node:util') as Record<string, unknown> | undefined
  if (util === undefined) return
  util.isNullOrUndefined ??= (value: unknown) => value === null || value === undefined
  util.isArray ??= Array.isArray
  util.isString ??= (value: unknown) => typeof value === 'string'
  util.isNumber ??= (value: unknown) => typeof value === 'number'
  util.isBoolean ??= (value: unknown) => typeof value === 'boolean'
  util.isFunction ??= (value: unknown) => typeof value === 'function'
  util.isObject ??= (value: unknown) => typeof value === 'object' && value !== null
}
