// `npm run pack`: every publishable package as a tarball in .packs/, as `pnpm publish` would send it.
import { mkdirSync, readdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { runPnpm } from '../bootstrap/process.mjs'
import { TaskError } from '../bootstrap/step.mjs'
import { packsFolder, workspaces } from '../bootstrap/workspace.mjs'
import { isPackable, platformOf } from './tarballs.mjs'

/** Packs every publishable package. @returns {Promise<number>} exit status */
export async function packAll() {
  rmSync(packsFolder, { recursive: true, force: true })
  mkdirSync(packsFolder, { recursive: true })
  const published = workspaces().filter(({ manifest }) => manifest.private !== true)
  const elsewhere = published.filter((workspace) => !isPackable(workspace)).map(platformOf)
  if (elsewhere.length > 0) {
    console.log(
      `Not packed: ONNX Runtime for ${elsewhere.join(', ')}, which is not here; \`node tooling/ort/build.mjs --platform all\` fetches it.`,
    )
  }
  for (const { name, folder } of published.filter(isPackable)) {
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
