// `docs` of every package, run in its folder: its API as JSON in .typedoc/, which `npm run docs` merges into one site.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { runTool } from '../bootstrap/process.mjs'
import { readJson } from '../bootstrap/workspace.mjs'

const folder = process.cwd()
const { exports } = readJson(join(folder, 'package.json'))
const entries = Object.values(exports)
  .map((target) => target['@bpf/source'])
  .filter((source) => source !== undefined)
const options = {
  '--tsconfig': 'tsconfig.json',
  '--json': '.typedoc/api.json',
  '--logLevel': 'Warn',
  '--readme': existsSync(join(folder, 'README.md')) ? 'README.md' : 'none',
}
const flags = ['--excludeInternal', '--excludePrivate', '--treatValidationWarningsAsErrors', 'false', '--skipErrorChecking']
const { status } = await runTool('typedoc', [...entries, ...Object.entries(options).flat(), ...flags], { cwd: folder })
process.exitCode = status
