// Writes a new algorithm into the repository. All is checked and rendered before the first file is written.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { TaskError } from '../bootstrap/step.mjs'
import { readJson } from '../bootstrap/workspace.mjs'
import { addExport, addPaperEntry, addReference, addTableRow, addDependency } from './wiring.mjs'

const templates = fileURLToPath(new URL('./templates/', import.meta.url))

/**
 * @param {string} root - the repository, or a copy of it
 * @param {{ package: string, name: string, paper: string, arxiv: string, title: string, slug?: string, newPackage: boolean }} wanted
 * @returns {{ files: string[], next: string }} the paths written, and what to do next
 * @throws TaskError naming what is wrong with `wanted`; nothing is written then
 */
export function generate(root, wanted) {
  const values = checked(root, wanted)
  const folder = `packages/${values.package}`
  const algorithm = `${folder}/src/${values.name}`
  const created = {
    [`${algorithm}.ts`]: 'algorithm.ts',
    [`${algorithm}.test.ts`]: 'algorithm.test.ts',
    [`${algorithm}.golden.test.ts`]: 'algorithm.golden.test.ts',
    [`${folder}/test/golden/${values.slug}.json`]: 'golden.json',
    [`apps/bench/src/papers/${values.slug}.ts`]: 'paper.ts',
    [`.changeset/${values.slug}.md`]: 'changeset.md',
  }
  const files = new Map(Object.entries(created).map(([path, template]) => [path, render(template, values)]))
  if (wanted.newPackage) {
    for (const name of readdirSync(join(templates, 'package'))) {
      const target = name.replace(/\.template$/, '')
      files.set(`${folder}/${target === 'index.ts' ? 'src/index.ts' : target}`, render(`package/${target}`, values))
    }
  }
  const exists = [...files.keys()].find((path) => existsSync(join(root, path)))
  if (exists !== undefined) throw new TaskError(`${exists} exists already: nothing was written.`)

  const edit = (path, change) => files.set(path, change(files.get(path) ?? readFileSync(join(root, path), 'utf8'), path))
  edit(`${folder}/src/index.ts`, (text) =>
    addExport(text, `export { ${values.camel}, type ${values.pascal}Options } from './${values.name}'`),
  )
  const link = `[${values.title}](https://arxiv.org/abs/${values.arxiv})`
  const call = `\`${values.camel}\``
  edit(`${folder}/README.md`, (text, path) => addTableRow(text, path, [link, call, 'tensors', 'not yet']))
  edit('README.md', (text, path) => addTableRow(text, path, [values.number, link, `[${values.packageName}](${folder})`, call]))
  edit('apps/bench/src/papers/index.ts', (text) => addPaperEntry(text, values))
  if (wanted.newPackage) {
    edit('tsconfig.json', (text) => addReference(text, folder))
    edit('apps/bench/tsconfig.json', (text) => addReference(text, `../../${folder}`))
    edit('apps/bench/package.json', (text) => addDependency(text, values.packageName))
  }

  for (const [path, text] of files) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), text)
  }
  return { files: [...files.keys()], next: `Next: npm test -- ${values.name}   (its one failing test says what to do)` }
}

function checked(root, { package: packageWord, name, paper, arxiv, title, slug = name, newPackage }) {
  const kebab = /^[a-z][a-z0-9]*(-[a-z0-9]+)*$/
  const shortName = packageWord.replace(/^@bpf\//, '')
  const expect = (ok, message) => {
    if (!ok) throw new TaskError(message)
  }
  expect(kebab.test(shortName), `--package is '${packageWord}': expected kebab-case, such as gnn.`)
  expect(kebab.test(name), `--name is '${name}': expected kebab-case, such as mono-forward.`)
  expect(kebab.test(slug), `--slug is '${slug}': expected kebab-case.`)
  expect(/^\d{1,2}$/.test(paper) && Number(paper) > 0, `--paper is '${paper}': expected a number from 1 to 99.`)
  expect(/^(\d{4}\.\d{4,5}|[a-z-]+(\.[A-Z]{2})?\/\d{7})$/.test(arxiv), `--arxiv is '${arxiv}': expected an id such as 2506.17968.`)
  expect(title.trim() !== '' && !/[\n|]/.test(title), `--title is '${title}': expected one line without |.`)
  const exists = existsSync(join(root, 'packages', shortName, 'package.json'))
  expect(exists || newPackage, `There is no package ${shortName}: add --new-package to create it.`)
  expect(!exists || !newPackage, `The package ${shortName} exists: leave out --new-package.`)
  const number = paper.padStart(2, '0')
  const taken = readdirSync(join(root, 'apps/bench/src/papers')).find((file) => file.startsWith(`${number}-`))
  expect(taken === undefined, `Paper ${number} has its reproduction: apps/bench/src/papers/${taken}.`)
  const camel = name.replace(/-([a-z0-9])/g, (_, letter) => letter.toUpperCase())
  return {
    package: shortName,
    packageName: `@bpf/${shortName}`,
    name,
    camel,
    pascal: camel[0].toUpperCase() + camel.slice(1),
    number,
    numberValue: String(Number(paper)),
    slug: `${number}-${slug}`,
    paperSlug: slug,
    arxiv,
    title,
    titleQuoted: title.replace(/[\\']/g, '\\$&'),
    titleJson: JSON.stringify(title).slice(1, -1),
    version: readJson(join(root, 'packages/core/package.json')).version,
    featured: String(newPackage),
  }
}

function render(template, values) {
  return readFileSync(join(templates, `${template}.template`), 'utf8').replace(/\{\{(\w+)\}\}/g, (_, name) => {
    if (!Object.hasOwn(values, name)) throw new TaskError(`template ${template}: unknown placeholder {{${name}}}.`)
    return values[name]
  })
}
