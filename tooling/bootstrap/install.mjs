// Makes the working copy ready: the pinned pnpm in .tools, and the dependencies from the lockfile. What is done already is skipped.
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { buildPlatforms, hostPlatform, isBuilt, platforms } from '../ort/build.mjs'
import { runNpm, runPnpm } from './process.mjs'
import { step, TaskError } from './step.mjs'
import { readJson, root, toolsFolder, workspaces } from './workspace.mjs'

const stampFile = join(toolsFolder, 'installed.json')

/** The version that package.json pins: `packageManager: 'pnpm@10.34.9'`. */
export function pinnedPnpm() {
  const { packageManager } = readJson(join(root, 'package.json'))
  const match = /^pnpm@(\d+\.\d+\.\d+)/.exec(packageManager ?? '')
  if (match === null) throw new TaskError(`package.json: packageManager is '${packageManager}', expected pnpm@<version>.`)
  return match[1]
}

/** Installs the pinned pnpm into .tools unless it is there. */
export async function ensurePnpm() {
  const version = pinnedPnpm()
  const manifest = join(toolsFolder, 'node_modules/pnpm/package.json')
  if (existsSync(manifest) && readJson(manifest).version === version) return
  mkdirSync(toolsFolder, { recursive: true })
  // With a package.json here npm installs here. `--prefix` would do so too, but also hide npm's global configuration.
  writeFileSync(join(toolsFolder, 'package.json'), '{ "private": true }\n')
  const args = ['install', '--ignore-scripts', '--no-save', '--no-package-lock', '--no-audit', '--no-fund']
  await step(`installing pnpm ${version} into .tools`, () =>
    runNpm([...args, '--loglevel=error', `pnpm@${version}`], { cwd: toolsFolder, capture: true }),
  )
}

/** Hash of everything that decides what is installed. */
function installationHash() {
  const hash = createHash('sha256')
  for (const file of ['pnpm-lock.yaml', 'pnpm-workspace.yaml', '.npmrc']) hash.update(readFileSync(join(root, file)))
  for (const { path, manifest } of workspaces()) {
    const { name, bin, dependencies, devDependencies, optionalDependencies, peerDependencies } = manifest
    hash.update(JSON.stringify({ path, name, bin, dependencies, devDependencies, optionalDependencies, peerDependencies }))
  }
  hash.update(`${pinnedPnpm()} ${process.platform} ${process.arch}`)
  return hash.digest('hex')
}

/** Makes the working copy ready: dependencies from the lockfile and the native library, unless they are there. */
export async function ensureDependencies() {
  await installPackages()
  await ensureNativeLibrary()
}

/** Installs the dependencies from the lockfile unless nothing changed since the last time. */
async function installPackages() {
  await ensurePnpm()
  const hash = installationHash()
  const stamp = existsSync(stampFile) ? readJson(stampFile).hash : undefined
  if (stamp === hash && [root, ...foldersWithDependencies()].every((folder) => existsSync(join(folder, 'node_modules')))) return
  const args = ['install', '--frozen-lockfile', '--prefer-offline', '--config.confirmModulesPurge=false']
  await step('installing dependencies from pnpm-lock.yaml', () => runPnpm([...args, '--reporter=append-only'], { capture: true }), {
    ERR_PNPM_OUTDATED_LOCKFILE: 'a package.json changed and pnpm-lock.yaml did not: run `npm run pnpm -- install` and commit the lockfile.',
    ERR_PNPM_LOCKFILE_CONFIG_MISMATCH:
      'pnpm-workspace.yaml changed and pnpm-lock.yaml did not: run `npm run pnpm -- install` and commit the lockfile.',
  })
  writeFileSync(stampFile, `${JSON.stringify({ hash })}\n`)
}

/** Folders in which pnpm makes a node_modules: not those of packages without dependencies, such as ort-*. */
function foldersWithDependencies() {
  const kinds = ['dependencies', 'devDependencies', 'optionalDependencies']
  return workspaces()
    .filter(({ manifest }) => kinds.some((kind) => Object.keys(manifest[kind] ?? {}).length > 0))
    .map(({ folder }) => folder)
}

/** Puts ONNX Runtime's native library for this machine into its package, where there is one and it is not there yet. */
async function ensureNativeLibrary() {
  if (!(hostPlatform in platforms) || isBuilt(hostPlatform)) return
  await step(`fetching ONNX Runtime for ${hostPlatform} from npm`, async () => {
    await buildPlatforms([hostPlatform])
    return { status: 0, output: '' }
  })
}
