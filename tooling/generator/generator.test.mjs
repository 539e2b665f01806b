import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { repositoryCopy } from '../testing/repository-copy.mjs'
import { generate } from './generate.mjs'
import { addPaperEntry, addTableRow } from './wiring.mjs'

const copy = repositoryCopy()
afterAll(() => copy.remove())
const read = (path) => readFileSync(join(copy.folder, path), 'utf8')
const wanted = {
  package: 'calibration',
  name: 'two-step-map',
  paper: '7',
  arxiv: '2501.01234',
  title: "Weiß's two steps",
  newPackage: false,
}

describe('generate', () => {
  it.each([
    [{ package: 'Gnn' }, "--package is 'Gnn'"],
    [{ package: 'vision' }, 'There is no package vision: add --new-package'],
    [{ newPackage: true }, 'The package calibration exists'],
    [{ name: 'twoStepMap' }, "--name is 'twoStepMap'"],
    [{ paper: '100' }, "--paper is '100'"],
    [{ paper: '60' }, 'Paper 60 has its reproduction'],
    [{ arxiv: '25' }, "--arxiv is '25'"],
    [{ title: 'a | b' }, "--title is 'a | b'"],
  ])('says what is wrong with %j and writes nothing', (change, message) => {
    expect(() => generate(copy.folder, { ...wanted, ...change })).toThrow(message)
    expect(existsSync(join(copy.folder, 'packages/calibration/src/two-step-map.ts'))).toBe(false)
  })

  it('writes the files of an algorithm and wires them in', () => {
    const { files } = generate(copy.folder, wanted)
    expect(files).toEqual([
      'packages/calibration/src/two-step-map.ts',
      'packages/calibration/src/two-step-map.test.ts',
      'packages/calibration/src/two-step-map.golden.test.ts',
      'packages/calibration/test/golden/07-two-step-map.json',
      'apps/bench/src/papers/07-two-step-map.ts',
      '.changeset/07-two-step-map.md',
      'packages/calibration/src/index.ts',
      'packages/calibration/README.md',
      'README.md',
      'apps/bench/src/papers/index.ts',
    ])
    expect(files.map(read).join('')).not.toMatch(/\{\{\w+\}\}/)
    expect(read('packages/calibration/src/index.ts')).toContain("export { twoStepMap, type TwoStepMapOptions } from './two-step-map'")
    expect(read('apps/bench/src/papers/07-two-step-map.ts')).toContain("title: 'Weiß\\'s two steps'")
    expect(read('README.md')).toMatch(/^\| 07 \| \[Weiß's two steps\]\(https:\/\/arxiv.org\/abs\/2501.01234\) \|/m)
    expect(JSON.parse(read('packages/calibration/test/golden/07-two-step-map.json')).paper).toBe(7)
    expect(() => generate(copy.folder, { ...wanted, paper: '8' })).toThrow('two-step-map.ts exists already')
  })

  it('lays out a new package and lets bench use it', () => {
    generate(copy.folder, { ...wanted, package: 'vision', name: 'layer-wise', paper: '99', newPackage: true })
    expect(JSON.parse(read('packages/vision/package.json')).name).toBe('@bpf/vision')
    expect(JSON.parse(read('apps/bench/package.json')).dependencies['@bpf/vision']).toBe('workspace:*')
    expect(JSON.parse(read('apps/bench/tsconfig.json')).references).toContainEqual({ path: '../../packages/vision' })
    expect(JSON.parse(read('tsconfig.json')).references).toContainEqual({ path: 'packages/vision' })
    expect(read('packages/vision/src/index.ts')).toBe("export { layerWise, type LayerWiseOptions } from './layer-wise'\n")
  })
})

describe('addTableRow', () => {
  it('keeps the order of papers and the number of columns', () => {
    const table = '| paper | title |\n| --- | --- |\n| 03 | c |\n| [60](x) | h |\n\nEnd.\n'
    expect(addTableRow(table, 'README.md', ['7', 'g', 'cut'])).toBe(
      '| paper | title |\n| --- | --- |\n| 03 | c |\n| 7 | g |\n| [60](x) | h |\n\nEnd.\n',
    )
    expect(addTableRow(table, 'README.md', ['61'])).toContain('| [60](x) | h |\n| 61 |  |\n')
  })

  it('says which file has no table of papers', () => {
    expect(() => addTableRow('# x\n', 'x/README.md', ['7'])).toThrow('x/README.md: expected a table')
  })
})

describe('addPaperEntry', () => {
  const values = { slug: '61-z', paperSlug: 'z', titleQuoted: 'Z', arxiv: '2501.01234', packageName: '@bpf/vision', featured: 'false' }
  it.each([
    ['61', ['7', '60', '61']],
    ['8', ['7', '8', '60']],
    ['1', ['1', '7', '60']],
  ])('puts paper %s in its place', (numberValue, expected) => {
    const registry = `export const papers: readonly PaperEntry[] = [\n  {\n    number: 7,\n  },\n  {\n    number: 60,\n  },\n]\n`
    const text = addPaperEntry(registry, { ...values, numberValue })
    expect([...text.matchAll(/number: (\d+)/g)].map(([, number]) => number)).toEqual(expected)
    expect(text.endsWith('  },\n]\n')).toBe(true)
  })
})
