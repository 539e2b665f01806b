import { execFile } from 'node:child_process'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join, resolve } from 'node:path'
import process from 'node:process'
import { promisify } from 'node:util'
import { afterAll, expect, it } from 'vitest'

// Inside the package, so that its own name resolves.
const folder = resolve('.vitest', 'readme-types')
afterAll(() => rm(folder, { recursive: true, force: true }))

it('every example of the README type-checks as strict TypeScript, the first one too', async () => {
  const blocks = [...(await readFile('README.md', 'utf8')).matchAll(/^```(?:js|ts)\n([\s\S]*?)^```/gm)].map(([, code]) => code)
  const files = blocks.map((_, i) => `example-${i}.mts`)
  const compilerOptions = {
    module: 'esnext',
    moduleResolution: 'bundler',
    customConditions: ['@bpf/source'],
    target: 'es2022',
    lib: ['es2023', 'esnext.disposable', 'dom'],
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    types: ['node'],
  }
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files }))
  for (const [i, file] of files.entries()) await writeFile(join(folder, file), blocks[i])

  const compiler = createRequire(import.meta.url).resolve('typescript/bin/tsc')
  const output = await promisify(execFile)(process.execPath, [compiler, '-p', folder]).then(
    ({ stdout }) => stdout,
    (error: unknown) => (error as { stdout: string }).stdout,
  )
  expect(output).toBe('')
})
