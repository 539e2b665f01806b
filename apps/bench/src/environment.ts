import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { cpus, totalmem } from 'node:os'
import type { BackendChoice } from '@bpf/core'

/** What numbers were measured on. */
export interface Environment {
  node: string
  platform: string
  arch: string
  cpu: string
  cores: number
  memoryGiB: number
  backend?: BackendChoice
  /** Versions of what computed the numbers. */
  packages: Readonly<Record<string, string>>
}

const require = createRequire(import.meta.url)

function versionOf(name: string): string | undefined {
  try {
    return (JSON.parse(readFileSync(require.resolve(`${name}/package.json`), 'utf8')) as { version: string }).version
  } catch {
    return undefined
  }
}

/** The machine and the versions in use. */
export function environment(packages: readonly string[], backend?: BackendChoice): Environment {
  const processors = cpus()
  const versions = ['@bpf/core', ...packages, '@tensorflow/tfjs-core']
    .map((name) => [name, versionOf(name)] as const)
    .filter((pair): pair is [string, string] => pair[1] !== undefined)
  return {
    node: process.versions.node,
    platform: process.platform,
    arch: process.arch,
    cpu: processors[0]?.model.trim() || 'unknown',
    cores: processors.length,
    memoryGiB: Math.round((totalmem() / 2 ** 30) * 10) / 10,
    ...(backend && { backend }),
    packages: Object.fromEntries(versions),
  }
}
