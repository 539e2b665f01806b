// Every package is laid out alike, and every paper has all its files: whoever knows one knows them all.
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { papers } from '../apps/bench/src/papers/index'
import { filesEndingIn, readJson, root, workspaces } from './bootstrap/workspace.mjs'
import { forbidden } from './presets/layers-rule.mjs'
import { repositoryFiles } from './testing/repository-copy.mjs'

const text = (path) => readFileSync(join(root, path), 'utf8')
// The packages ort-* hold a native library and no source.
const packages = workspaces().filter(({ path }) => path.startsWith('packages/') && !path.startsWith('packages/ort-'))
// These carry no papers: the layers below the algorithm packages.
const isAlgorithmPackage = ({ path }) => !/^packages\/(core|backend-onnx)$/.test(path)
const algorithmPackages = packages.filter(isAlgorithmPackage)
const version = packages[0].manifest.version

describe.each(packages)('$path', ({ path, folder, manifest }) => {
  it('is described alike', () => {
    const name = path.split('/')[1]
    expect(manifest).toMatchObject({ name: `@bpf/${name}`, version, license: 'Apache-2.0', type: 'module', engines: { node: '>=20.19.0' } })
    expect(manifest.description).toMatch(/\S/)
    expect(manifest.sideEffects).toBeTypeOf('boolean')
    expect(manifest.exports['.']).toEqual({ '@bpf/source': './src/index.ts', types: './dist/index.d.ts', default: './dist/index.js' })
    expect(manifest.scripts).toMatchObject({
      build: 'tsup',
      test: 'vitest run',
      lint: 'eslint .',
      typecheck: 'tsc -b',
      docs: 'node ../../tooling/docs/package.mjs',
      prepack: 'node ../../tooling/pack/guard.mjs',
    })
  })

  it('exports what exists', () => {
    const sources = Object.values(manifest.exports).flatMap((target) => target['@bpf/source'] ?? [])
    expect(sources.filter((source) => !existsSync(join(folder, source)))).toEqual([])
  })

  it('is configured by the shared presets', () => {
    expect(text(`${path}/tsconfig.json`)).toContain('"extends": "@bpf/tooling/tsconfig.json"')
    expect(text(`${path}/tsup.config.mjs`)).toContain("from '@bpf/tooling/tsup'")
    expect(text(`${path}/vitest.config.mjs`)).toContain("from '@bpf/tooling/vitest'")
    expect(readJson(join(root, 'tsconfig.json')).references).toContainEqual({ path })
  })

  it('has a README with its install line and an example', () => {
    const readme = text(`${path}/README.md`)
    expect(readme.startsWith(`# ${manifest.name}\n`)).toBe(true)
    expect(readme).toMatch(new RegExp(`^npm (install|i) .*${manifest.name}`, 'm'))
    expect(readme).toMatch(/^```ts\n/m)
    expect(readme, 'what tfjs needs of TypeScript').toContain('skipLibCheck')
  })
})

describe.each(algorithmPackages)('the algorithms of $path', ({ path, folder, manifest }) => {
  const algorithms = readdirSync(join(folder, 'src'), { withFileTypes: true })
    .filter(({ name }) => !['index.ts', 'shared'].includes(name) && !name.includes('.test.'))
    .filter((entry) => entry.name.endsWith('.ts') || existsSync(join(folder, 'src', entry.name, 'index.ts')))
    .map(({ name }) => name.replace(/\.ts$/, ''))

  it('depend on core and tfjs-core as peers', () => {
    expect(manifest.peerDependencies).toMatchObject({ '@bpf/core': 'workspace:^', '@tensorflow/tfjs-core': '~4.22.0' })
  })

  it.each(algorithms)('%s is tested beside it', (name) => {
    const file = existsSync(join(folder, `src/${name}.ts`)) ? `${name}.ts` : `${name}/index.ts`
    const functions = [...text(`${path}/src/${file}`).matchAll(/^export (?:async )?function (\w+)/gm)].map(([, exported]) => exported)
    const reExported = [...text(`${path}/src/${file}`).matchAll(/^export \{([^}]+)\}/gm)].flatMap(([, list]) => list.split(/[\s,]+/))
    const tests = filesEndingIn(join(folder, 'src'), '.test.ts').map((test) => text(`${path}/src/${test}`))
    const isTested = (exported) => exported !== '' && tests.some((test) => new RegExp(`\\b${exported}\\b`).test(test))
    expect([...functions, ...reExported].some(isTested)).toBe(true)
  })

  it.each(algorithms)('%s is exported', (name) => {
    expect(text(`${path}/src/index.ts`)).toMatch(new RegExp(`from '\\./${name}(/index)?'`))
  })

  it('stand in a table of the README', () => {
    expect(text(`${path}/README.md`)).toMatch(/^\|\s*paper\s*\|/im)
  })
})

const number = (paper) => String(paper.number).padStart(2, '0')
const named = papers.map((paper) => ({
  ...paper,
  id: `${number(paper)}-${paper.slug}`,
  folder: paper.package.replace('@bpf/', 'packages/'),
}))

describe.each(named)('paper $id', (paper) => {
  it('has its reproduction', () => {
    expect(existsSync(join(root, `apps/bench/src/papers/${paper.id}.ts`))).toBe(true)
  })

  it('has golden vectors and the test that runs them', () => {
    expect(existsSync(join(root, paper.folder, `test/golden/${paper.id}.json`))).toBe(true)
    const tests = filesEndingIn(join(root, paper.folder), '.golden.test.ts')
    expect(tests.filter((file) => text(`${paper.folder}/${file}`).includes(`'${paper.id}'`)).length).toBeGreaterThan(0)
  })

  it('has its row in both READMEs', () => {
    expect(text('README.md')).toMatch(new RegExp(`^\\|\\s*${number(paper)}\\s*\\|.*\\|$`, 'm'))
    const rows = text(`${paper.folder}/README.md`)
      .split('\n')
      .filter((line) => line.startsWith('|'))
    expect(rows.filter((row) => row.includes(paper.arxiv)).length).toBeGreaterThan(0)
  })
})

describe('the papers', () => {
  it('are all registered', () => {
    const files = readdirSync(join(root, 'apps/bench/src/papers')).filter((file) => /^\d\d-[^.]+\.ts$/.test(file))
    expect(named.map(({ id }) => `${id}.ts`).sort()).toEqual(files.sort())
  })

  it('have golden vectors only where they are registered', () => {
    const ids = algorithmPackages.flatMap(({ folder }) => filesEndingIn(folder, '.json').filter((file) => file.startsWith('test/golden/')))
    expect(ids.map((file) => file.replace(/^test\/golden\/|\.json$/g, '')).sort()).toEqual(named.map(({ id }) => id).sort())
  })

  it('stand in the order of their numbers', () => {
    const numbers = papers.map((paper) => paper.number)
    expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b))
  })

  it('are featured once per package', () => {
    const featured = papers.filter((paper) => paper.featured).map((paper) => paper.package)
    expect(featured.sort()).toEqual([...new Set(papers.map((paper) => paper.package))].sort())
  })
})

describe('the tests', () => {
  it('import nothing by an absolute path, which would be another checkout elsewhere', () => {
    const sources = repositoryFiles().filter((path) => /\.(ts|mjs)$/.test(path))
    expect(sources.filter((path) => /(from|import|import\()\s*['"](\/|file:)/.test(text(path)))).toEqual([])
  })

  it('are all run: none is skipped, marked as to do or run alone', () => {
    const tests = repositoryFiles().filter((path) => /\.test\.(ts|mjs)$/.test(path))
    expect(tests.filter((path) => /\b(it|test|describe)\.(skip|todo|only|fails)\b/.test(text(path)))).toEqual([])
  })
})

describe('the workspaces', () => {
  it('have nothing but TypeScript in src: tsc writes to .tsbuild, tsup to dist', () => {
    const strays = workspaces()
      .filter(({ folder }) => existsSync(join(folder, 'src')))
      .flatMap(({ path, folder }) => filesEndingIn(join(folder, 'src'), '').map((file) => `${path}/src/${file}`))
      .filter((file) => !/\/__(fixtures|snapshots)__\//.test(file))
      .filter((file) => !file.endsWith('.ts') || file.endsWith('.d.ts'))
    expect(strays).toEqual([])
  })

  it('depend only on workspaces of a lower layer', () => {
    const wrong = workspaces().flatMap(({ path, manifest }) =>
      ['dependencies', 'peerDependencies', 'optionalDependencies'].flatMap((kind) =>
        Object.keys(manifest[kind] ?? {}).filter((name) => forbidden(root, `${path}/x.mjs`, name) !== undefined),
      ),
    )
    expect(wrong).toEqual([])
  })

  it('take third-party versions from the catalog', () => {
    const own = workspaces().flatMap(({ path, manifest }) =>
      ['dependencies', 'devDependencies', 'optionalDependencies'].flatMap((kind) =>
        Object.entries(manifest[kind] ?? {})
          .filter(([, range]) => !/^(catalog|workspace):/.test(range))
          .map(([name]) => `${path}: ${name}`),
      ),
    )
    expect(own).toEqual([])
  })
})

describe('the changesets', () => {
  it('are patches until 1.0: a minor of core would make everything that stands on it 1.0.0', () => {
    const files = readdirSync(join(root, '.changeset')).filter((file) => file.endsWith('.md') && file !== 'README.md')
    expect(files.filter((file) => /: (minor|major)$/m.test(text(`.changeset/${file}`).split('---')[1]))).toEqual([])
  })
})
