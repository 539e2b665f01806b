// `npm run pack`: every publishable package as a tarball in .packs/, as `pnpm publish` would send it.
import { mkdirSync, readdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { isBuilt, platforms } from '../ort/build.mjs'
import { runPnpm } from '../bootstrap/process.mjs'
import { TaskError } from '../bootstrap/step.mjs'
import { packsFolder, workspaces } from '../bootstrap/workspace.mjs'

/** Packs every publishable package. @returns {Promise<number>} exit status */
export async function packAll() {
  rmSync(packsFolder, { recursive: true, force: true })
  mkdirSync(packsFolder, { recursive: true })
  for (const { name, folder, manifest } of workspaces()) {
    if (manifest.private === true) continue
    const platform = name.replace('@bpf/ort-', '')
    if (platform in platforms && !isBuilt(platform)) {
      console.log(`${name}: not packed, its native library is not here; fetch it with: node tooling/ort/build.mjs --platform ${platform}`)
      continue
    }
    const { status, output } = await runPnpm(['pack', '--pack-destination', packsFolder], { cwd: folder, capture: true })
    if (status !== 0) {
      process.stderr.write(output)
      throw new TaskError(`${name}: pnpm pack failed, its output is above.`)
    }
  }
  for (const file of readdirSync(packsFolder).sort()) {
    console.log(`.packs/${file}  ${(statSync(join(packsFolder, file)).size / 1024).toFixed(0)} kB`)
  }
  return 0
}
