import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { TaskError } from '../bootstrap/step.mjs'
import { packsFolder, workspaces } from '../bootstrap/workspace.mjs'
import { isBuilt, platforms } from '../ort/build.mjs'

/** The platform whose native library a workspace holds: `linux-x64` for packages/ort-linux-x64; undefined for the others. */
export function platformOf({ path }) {
  const platform = path.replace(/^packages\/ort-/, '')
  return Object.hasOwn(platforms, platform) ? platform : undefined
}

/** Whether a workspace can be packed here: it is published, and its native library, if it holds one, was fetched. */
export function isPackable(workspace) {
  const platform = platformOf(workspace)
  return workspace.manifest.private !== true && (platform === undefined || isBuilt(platform))
}

/** The tarballs that `npm run pack` made. @returns {{ name: string, path: string, manifest: Record<string, any>, tarball: string }[]} */
export function tarballs() {
  return workspaces()
    .filter(isPackable)
    .map(({ name, path, manifest }) => {
      const tarball = join(packsFolder, `${name.replace('@', '').replace('/', '-')}-${manifest.version}.tgz`)
      if (!existsSync(tarball)) throw new TaskError(`${tarball} is missing: run \`npm run pack\` first.`)
      return { name, path, manifest, tarball }
    })
}
