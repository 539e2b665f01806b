import * as tf from '@tensorflow/tfjs-core'
import { createRequire } from 'node:module'
import { arch, cpus, platform } from 'node:os'
import { ensureBackend } from '../backend'

/** What bit-equal results depend on; recorded with each checkpoint. */
export type Environment = {
  readonly packages: { readonly [name: string]: string }
  readonly node: string
  readonly platform: string
  readonly cpu: string
  readonly backend: string
  readonly device: string
  readonly threads: number
}

/** The version of an installed package, undefined where it is not installed. */
function installedVersion(name: string): string | undefined {
  try {
    const { version } = createRequire(import.meta.url)(`${name}/package.json`) as { version: string }
    return version
  } catch {
    return undefined
  }
}

const recorded = ['@bpf/core', '@bpf/backend-onnx', '@tensorflow/tfjs-node', '@tensorflow/tfjs-node-gpu', '@tensorflow/tfjs-backend-wasm']

/** Package versions, Node, processor and backend of this process. Chooses the default backend if none is chosen yet. */
export async function environment(): Promise<Environment> {
  const { name, device, threads } = await ensureBackend()
  const versions = recorded.flatMap((packageName) => {
    const version = installedVersion(packageName)
    return version === undefined ? [] : [[packageName, version] as const]
  })
  return {
    packages: { ...Object.fromEntries(versions), '@tensorflow/tfjs-core': tf.version_core },
    node: process.versions.node,
    platform: `${platform()}-${arch()}`,
    cpu: cpus()[0]?.model ?? 'unknown',
    backend: name,
    device,
    threads,
  }
}

function flatFields(value: unknown, path: string): Map<string, string> {
  if (typeof value !== 'object' || value === null) return new Map([[path, String(value)]])
  return new Map(Object.entries(value).flatMap(([key, item]) => [...flatFields(item, path === '' ? key : `${path} ${key}`)]))
}

/** Each field in which two environments differ, as `backend: cpu, now wasm`. */
export function environmentDifferences(then: unknown, now: unknown): string[] {
  const before = flatFields(then, '')
  const after = flatFields(now, '')
  return [...new Set([...before.keys(), ...after.keys()])]
    .filter((field) => before.get(field) !== after.get(field))
    .map((field) => `${field}: ${before.get(field) ?? 'absent'}, now ${after.get(field) ?? 'absent'}`)
}
