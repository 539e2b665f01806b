import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { TaskError } from '../bootstrap/step.mjs'
import { packsFolder, workspaces } from '../bootstrap/workspace.mjs'

/** The packed tarballs of all publishable workspaces. @returns {{ name: string, path: string, manifest: Record<string, any>, tarball: string }[]} */
export function tarballs() {
  return workspaces()
    .filter(({ manifest }) => manifest.private !== true)
    .map(({ name, path, manifest }) => {
      const tarball = join(packsFolder, `${name.replace('@', '').replace('/', '-')}-${manifest.version}.tgz`)
      if (!existsSync(tarball)) throw new TaskError(`${tarball} is missing: run \`npm run pack\` first.`)
      return { name, path, manifest, tarball }
    })
}
