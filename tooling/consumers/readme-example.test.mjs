import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { insideMain, readmeExample } from './readme-example.mjs'

const folder = mkdtempSync(join(tmpdir(), 'bpf-readme-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe('readmeExample', () => {
  it('takes the first block of code, not the install line', () => {
    const readme = join(folder, 'README.md')
    writeFileSync(readme, '# x\n```sh\nnpm install x\n```\n```ts\nconst a = 1\n```\n```ts\nconst b = 2\n```\n')
    expect(readmeExample(readme)).toBe('const a = 1\n')
  })

  it('says which README has none', () => {
    expect(() => readmeExample(join(folder, 'missing.md'))).toThrow('missing.md: expected an example')
  })
})

describe('insideMain', () => {
  it('moves everything but imports into an async function', () => {
    expect(insideMain("import { a } from 'x'\nimport {\n  b,\n  c,\n} from 'y'\n\nawait a()\n\nconsole.log(b, c)\n")).toBe(
      "import { a } from 'x'\nimport {\n  b,\n  c,\n} from 'y'\n\nasync function main() {\n  await a()\n\n  console.log(b, c)\n}\n\nvoid main()\n",
    )
  })
})
