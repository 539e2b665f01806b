// `npm run test:node-matrix`: the packed packages in an empty project, as users have them.
// Their README examples run by `import` and by `require` on every supported Node, and compile for every kind of TypeScript consumer.
import { existsSync, lstatSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { hostPlatform, platforms } from '../ort/build.mjs'
import { runNpm, runProgram, runTool } from '../bootstrap/process.mjs'
import { step } from '../bootstrap/step.mjs'
import { root, toolsFolder, workspaces } from '../bootstrap/workspace.mjs'
import { consumerProject } from './project.mjs'
import { insideMain, readmeExample } from './readme-example.mjs'

const nodeVersions = ['20', '22', '24', '26']

/** Megabytes on disk of all packages with their dependencies, tfjs-core and one platform's native library included. */
const sizeLimit = 130

/** TypeScript consumers: `module`, how modules are found, and the file that has to compile. */
const typescriptConsumers = [
  { module: 'node20', extension: 'cts' },
  { module: 'nodenext', extension: 'cts' },
  { module: 'node16', extension: 'mts' },
  { module: 'nodenext', extension: 'mts' },
  { module: 'esnext', moduleResolution: 'bundler', extension: 'mts' },
]

/** @returns {Promise<number>} exit status */
export async function nodeMatrix() {
  const results = []
  const report = (name, ok, output) => {
    results.push(ok)
    console.log(`${ok ? 'ok  ' : 'FAIL'} ${name}`)
    if (!ok) console.log(output)
  }
  const packages = workspaces().filter(
    ({ path, manifest }) => path.startsWith('packages/') && manifest.private !== true && manifest.exports !== undefined,
  )
  const project = await consumerProject(packages.map(({ name }) => name))
  try {
    const readmes = [{ name: 'root', folder: root }, ...packages.map(({ path, folder }) => ({ name: path.split('/')[1], folder }))]
    const examples = readmes.map(({ name, folder }) => writeExample(project.folder, name, readmeExample(join(folder, 'README.md'))))
    reportSize(project.folder, report)
    writeFileSync(join(project.folder, 'backend.mjs'), backendProgram)
    for (const version of nodeVersions) {
      const binary = await nodeBinary(version)
      await checkBackend(binary, version, project.folder, report)
      await runExamples(binary, version, examples, project.folder, report)
    }
    for (const consumer of typescriptConsumers) await compileExamples(consumer, examples, project.folder, report)
  } finally {
    project.remove()
  }
  const failed = results.filter((ok) => !ok).length
  console.log(`node matrix: ${results.length - failed} passed, ${failed} failed`)
  return failed > 0 ? 1 : 0
}

/** An example in its four forms: for `import` and for `require`, as TypeScript and as JavaScript. */
function writeExample(folder, name, code) {
  writeFileSync(join(folder, `${name}.mts`), code)
  writeFileSync(join(folder, `${name}.cts`), insideMain(code))
  writeFileSync(join(folder, `${name}.mjs`), typescriptTo(ts.ModuleKind.ES2022, code))
  writeFileSync(join(folder, `${name}.cjs`), typescriptTo(ts.ModuleKind.CommonJS, insideMain(code)))
  return name
}

/** The size of what was installed, with what takes most of it. */
function reportSize(folder, report) {
  const modules = join(folder, 'node_modules')
  const names = readdirSync(modules).flatMap((name) =>
    name.startsWith('@') ? readdirSync(join(modules, name)).map((scoped) => `${name}/${scoped}`) : [name],
  )
  const sizes = names.map((name) => ({ name, megabytes: bytesOnDisk(join(modules, name)) / 1e6 }))
  const total = sizes.reduce((sum, { megabytes }) => sum + megabytes, 0)
  const largest = sizes.sort((a, b) => b.megabytes - a.megabytes).slice(0, 8)
  console.log(`node_modules: ${largest.map(({ name, megabytes }) => `${name} ${megabytes.toFixed(1)} MB`).join(', ')}, …`)
  report(`node_modules takes ${total.toFixed(0)} MB, less than ${sizeLimit}`, total < sizeLimit, '')
}

/** As du counts: blocks, where the file system tells them. */
function bytesOnDisk(path) {
  const { blocks, size } = lstatSync(path)
  const own = blocks === undefined ? size : blocks * 512
  if (!lstatSync(path).isDirectory()) return own
  return readdirSync(path).reduce((sum, name) => sum + bytesOnDisk(join(path, name)), own)
}

const backendProgram = `import { useBackend } from '@bpf/core'
const { name, why } = await useBackend()
console.log(name, why)
`

/** Where there is a native library, `useBackend()` chooses the engine. */
async function checkBackend(binary, version, cwd, report) {
  const expected = hostPlatform in platforms ? 'onnx' : 'cpu'
  const { status, stdout, stderr } = await runProgram(binary, ['backend.mjs'], { cwd, capture: true })
  const ok = status === 0 && stderr === '' && stdout.startsWith(`${expected} `)
  report(`node ${version}: useBackend() chooses ${expected}`, ok, `status ${status}\n${stdout}\n${stderr}`)
}

async function runExamples(binary, version, examples, cwd, report) {
  const ways = { import: 'mjs', require: 'cjs' }
  for (const name of examples) {
    for (const [way, extension] of Object.entries(ways)) {
      const { status, stdout, stderr } = await runProgram(binary, [`${name}.${extension}`], { cwd, capture: true })
      const ok = status === 0 && stderr === '' && stdout !== ''
      report(`node ${version}: README example of ${name} by ${way}`, ok, `status ${status}\n${stdout}\n${stderr}`)
    }
  }
}

async function compileExamples({ module, moduleResolution, extension }, examples, cwd, report) {
  const files = examples.map((name) => `${name}.${extension}`)
  // skipLibCheck, as the READMEs say: the types of TensorFlow.js itself need it.
  const compilerOptions = { module, moduleResolution, target: 'es2022', strict: true, noEmit: true, skipLibCheck: true, types: [] }
  writeFileSync(join(cwd, 'tsconfig.json'), JSON.stringify({ compilerOptions, files }))
  const { status, output } = await runTool('tsc', ['-p', '.'], { cwd, capture: true })
  report(
    `types: module ${module}${moduleResolution === undefined ? '' : `, moduleResolution ${moduleResolution}`}, .${extension}`,
    status === 0,
    output,
  )
}

/** The Node binary of a major version: the npm package `node` carries it. Kept in .tools for the next time. */
async function nodeBinary(version) {
  const prefix = join(toolsFolder, `node-${version}`)
  const binary = join(prefix, 'node_modules/node/bin/node')
  if (!existsSync(binary)) {
    mkdirSync(prefix, { recursive: true })
    writeFileSync(join(prefix, 'package.json'), '{ "private": true }\n')
    const args = ['install', '--no-save', '--no-package-lock', '--no-audit', '--no-fund', '--ignore-scripts=false', '--loglevel=error']
    await step(`installing Node ${version} into .tools`, () => runNpm([...args, `node@${version}`], { cwd: prefix, capture: true }))
  }
  return binary
}

const typescriptTo = (module, code) =>
  ts.transpileModule(code, {
    compilerOptions: { module, target: ts.ScriptTarget.ES2022, esModuleInterop: true, verbatimModuleSyntax: false },
  }).outputText
