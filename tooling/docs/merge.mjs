// `npm run docs`: one site in docs/api from the JSON that each package's `docs` wrote.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { runTool } from '../bootstrap/process.mjs'
import { workspaces } from '../bootstrap/workspace.mjs'

/** @returns {Promise<number>} exit status */
export async function mergeDocs() {
  const apis = workspaces()
    .map(({ folder }) => join(folder, '.typedoc/api.json'))
    .filter((file) => existsSync(file))
  const site = [
    '--entryPointStrategy',
    'merge',
    '--out',
    'docs/api',
    '--name',
    '@bpf',
    '--readme',
    'README.md',
    '--hideGenerator',
    '--logLevel',
    'Error',
  ]
  const { status } = await runTool('typedoc', [...apis, ...site])
  if (status === 0) console.log('docs/api/index.html')
  return status
}
