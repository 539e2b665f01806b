// Which tests run for `npm test`, `npm run test:golden`, `npm run test:long` and their arguments.
import { basename, join, relative, resolve } from 'node:path'
import process from 'node:process'
import { runNode, runTool, userFolder } from './process.mjs'
import { TaskError } from './step.mjs'
import { filesEndingIn, findWorkspace, root, workspaces } from './workspace.mjs'

/**
 * `npm test`: everything but long tests, package by package, unchanged packages from the cache.
 * `npm test -- core`: one package. `npm test -- tree -t 'disposes'`: files whose path holds `tree`; options go to vitest.
 */
export async function runAllTests(args) {
  const words = wordsOf(args)
  const named = words.map(findWorkspace)
  if (args.length > words.length || named.some((workspace) => workspace === undefined)) return runTestFiles('.test', args)
  // The content of a folder of golden vectors is no part of a cached result's key.
  const force = goldenEnvironment().BPF_GOLDEN_DIR === undefined ? [] : ['--force']
  const filters = named.map(({ name }) => `--filter=${name}`)
  // One package at a time: vitest uses all cores by itself, and tests that time something are not disturbed.
  const options = ['--concurrency=1', '--continue', '--output-logs=new-only', '--log-order=grouped', ...force, ...filters]
  return (await runTool('turbo', ['run', 'test', ...options], { env: goldenEnvironment() })).status
}

/**
 * Runs the test files whose name holds `kind`, never from the cache. Words among `args` keep files whose path holds one of
 * them, or which are in the package they name; the rest goes to vitest.
 */
export async function runTestFiles(kind, args) {
  const words = wordsOf(args)
  const options = args.slice(words.length)
  const chosen = workspaces()
    .map((workspace) => ({ ...workspace, files: testFiles(workspace, kind).filter((file) => matches(workspace, file, words)) }))
    .filter(({ files }) => files.length > 0)
  if (chosen.length === 0) throw new TaskError(`No test file *${kind}.* matches ${words.join(' ') || 'this repository'}.`)
  const failed = []
  for (const { path, folder, files } of chosen) {
    console.log(`\n${path}: ${files.map((file) => basename(file)).join(', ')}`)
    const vitest = ['run', ...files, ...options, ...(options.length > 0 ? ['--passWithNoTests'] : [])]
    const env = { ...goldenEnvironment(), ...(kind === '.long.test' ? { BPF_LONG_TESTS: '1' } : {}) }
    const { status } = await runNode(join(root, 'tooling/node_modules/vitest/vitest.mjs'), vitest, { cwd: folder, env })
    if (status > 128) return status
    if (status !== 0) failed.push(path)
  }
  if (failed.length > 0) console.error(`\nTests failed in ${failed.join(', ')}.`)
  return failed.length > 0 ? 1 : 0
}

/** The leading arguments that are no options: `tree -t name` → `tree`. */
function wordsOf(args) {
  const firstOption = args.findIndex((argument) => argument.startsWith('-'))
  return firstOption === -1 ? args : args.slice(0, firstOption)
}

function testFiles({ folder }, kind) {
  const isLong = (file) => file.includes('.long.test.')
  return ['.test.ts', '.test.mjs']
    .flatMap((suffix) => filesEndingIn(folder, suffix))
    .filter((file) => isLong(file) === (kind === '.long.test'))
    .filter((file) => kind !== '.golden.test.ts' || file.endsWith(kind))
}

function matches(workspace, file, words) {
  if (words.length === 0) return true
  const path = `${workspace.path}/${file}`
  return words.some(
    (word) => findWorkspace(word)?.path === workspace.path || path.includes(word) || path === relative(root, resolve(userFolder, word)),
  )
}

/** BPF_GOLDEN_DIR as the user meant it: relative to where they are, while vitest runs in each package's folder. */
function goldenEnvironment() {
  const folder = process.env.BPF_GOLDEN_DIR
  return folder === undefined || folder === '' ? {} : { BPF_GOLDEN_DIR: resolve(userFolder, folder) }
}
