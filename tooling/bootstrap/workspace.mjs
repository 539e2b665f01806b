// Where things are in this repository, and what its packages are called.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The repository's root folder. */
export const root = resolve(fileURLToPath(import.meta.url), '../../..')

/** Where the pinned pnpm and the stamp of the last installation are kept. */
export const toolsFolder = join(root, '.tools')

/** Where `npm run pack` puts the packed packages. */
export const packsFolder = join(root, '.packs')

/** @returns {Record<string, any>} a JSON file's content */
export function readJson(path) {
  return JSON.parse(readFileSync(path, 'utf8'))
}

/**
 * All workspaces: packages, apps, then tooling.
 *
 * @param {string} [base] - the root of the repository, or of a copy of it
 * @returns {{ name: string, folder: string, path: string, manifest: Record<string, any> }[]}
 *   npm name, absolute folder, path from the root with forward slashes, package.json
 */
export function workspaces(base = root) {
  const folders = ['packages', 'apps'].flatMap((kind) =>
    existsSync(join(base, kind))
      ? readdirSync(join(base, kind))
          .sort()
          .map((name) => `${kind}/${name}`)
      : [],
  )
  return [...folders, 'tooling']
    .filter((path) => existsSync(join(base, path, 'package.json')))
    .map((path) => {
      const folder = join(base, path)
      const manifest = readJson(join(folder, 'package.json'))
      return { name: manifest.name, folder, path, manifest }
    })
}

/** The workspace that `word` names: `core`, `packages/core`, `packages/core/` or `@bpf/core`; undefined when it names none. */
export function findWorkspace(word) {
  const path = word.replace(/^\.\//, '').replace(/\/+$/, '')
  return workspaces().find((workspace) => [workspace.name, workspace.path, basename(workspace.path)].includes(path))
}

const skippedFolders = new Set(['node_modules', 'dist', '.tsbuild', '.turbo', '.vitest', '.git'])

/** Files under `folder` whose name ends in `suffix`, as sorted paths relative to it with forward slashes. */
export function filesEndingIn(folder, suffix, under = '') {
  return readdirSync(join(folder, under), { withFileTypes: true })
    .flatMap((entry) => {
      const path = under === '' ? entry.name : `${under}/${entry.name}`
      if (entry.isDirectory()) return skippedFolders.has(entry.name) ? [] : filesEndingIn(folder, suffix, path)
      return entry.name.endsWith(suffix) ? [path] : []
    })
    .sort()
}
