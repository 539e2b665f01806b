// An empty project as a user has it, with our packed packages installed from their tarballs.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { runNpm } from '../bootstrap/process.mjs'
import { step } from '../bootstrap/step.mjs'
import { readJson, root } from '../bootstrap/workspace.mjs'
import { tarballs } from '../pack/tarballs.mjs'

/**
 * Installs packages with npm, scripts on, as their READMEs say: the packed ones among `names`, and tfjs-core, their peer.
 *
 * @param {readonly string[]} names - `@bpf/core`
 * @returns {Promise<{ folder: string, remove: () => void }>}
 */
export async function consumerProject(names) {
  const folder = mkdtempSync(join(tmpdir(), 'bpf-consumer-'))
  writeFileSync(join(folder, 'package.json'), '{ "name": "consumer", "private": true }\n')
  const all = tarballs()
  const ours = [...withDependencies(names, all)].map((name) => all.find((packed) => packed.name === name).tarball)
  const { peerDependencies } = readJson(join(root, 'packages/core/package.json'))
  const wanted = [...ours, `@tensorflow/tfjs-core@${peerDependencies['@tensorflow/tfjs-core']}`]
  const args = ['install', '--no-audit', '--no-fund', '--ignore-scripts=false', '--loglevel=error', ...wanted]
  await step(`installing ${names.join(', ')} into an empty project`, () => runNpm(args, { cwd: folder, capture: true }))
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) }
}

/** The packages and those of ours that they need, which no registry has yet: all that fit this machine. */
function withDependencies(names, all, found = new Set()) {
  for (const name of names) {
    const manifest = all.find((packed) => packed.name === name)?.manifest
    if (manifest === undefined || found.has(name)) continue
    const fits = (manifest.os?.includes(process.platform) ?? true) && (manifest.cpu?.includes(process.arch) ?? true)
    if (!fits) continue
    found.add(name)
    const kinds = ['dependencies', 'optionalDependencies', 'peerDependencies']
    withDependencies(
      kinds.flatMap((kind) => Object.keys(manifest[kind] ?? {})),
      all,
      found,
    )
  }
  return found
}
