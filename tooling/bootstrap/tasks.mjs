// What each root script does.
import { join } from 'node:path'
import { runChecks } from '../ci/ci.mjs'
import { mergeDocs } from '../docs/merge.mjs'
import { newAlgorithm } from '../generator/new-algorithm.mjs'
import { checkPackages } from '../pack/check.mjs'
import { packAll } from '../pack/pack.mjs'
import { ensureDependencies, ensurePnpm } from './install.mjs'
import { runNode, runPnpm, runTool, userFolder } from './process.mjs'
import { step, TaskError } from './step.mjs'
import { runAllTests, runTestFiles } from './tests.mjs'
import { root } from './workspace.mjs'

const status = async (running) => (await running).status

/** Turbo with its whole output. */
const turbo = (task, args = []) => status(runTool('turbo', ['run', task, ...args]))

/** Builds what changed, quietly. */
const build = () => step('building', () => runTool('turbo', ['run', 'build', '--output-logs=errors-only'], { capture: true }))

/** Runs the commands until one fails. */
async function inOrder(...commands) {
  for (const command of commands) {
    const result = await command()
    if (result !== 0) return result
  }
  return 0
}

async function bench(args) {
  await build()
  return status(runNode(join(root, 'apps/bench/dist/main.js'), args, { cwd: userFolder }))
}

// Imported late: it needs TypeScript, which is there only after the installation.
const nodeMatrix = async () => (await import('../consumers/node-matrix.mjs')).nodeMatrix()

/** Task name → what it does with its arguments; returns the exit status. */
const tasks = {
  start: (args) => bench(['start', '--budget', '90s', ...args]),
  bench,
  build: (args) => turbo('build', args),
  test: runAllTests,
  'test:golden': (args) => runTestFiles('.golden.test.ts', args),
  // Long tests look at what users get: built and packed packages.
  'test:long': async (args) => {
    await tasks.pack()
    const longTests = await runTestFiles('.long.test', args)
    return args.length > 0 ? longTests : Math.max(longTests, await nodeMatrix())
  },
  'test:node-matrix': () => inOrder(() => tasks.pack(), nodeMatrix),
  // TensorFlow.js's own kernel tests against a backend.
  conformance: (args) => status(runNode(join(root, 'packages/backend-onnx/conformance/run.mjs'), args, { cwd: userFolder })),
  lint: () =>
    inOrder(
      () => turbo('lint'),
      () => tasks['format:check'](),
    ),
  format: () => status(runTool('prettier', ['--write', '--log-level=warn', '.'])),
  'format:check': () => status(runTool('prettier', ['--check', '--log-level=warn', '.'])),
  typecheck: (args) => turbo('typecheck', args),
  'check:packages': () =>
    inOrder(
      () => tasks.pack(),
      checkPackages,
      () => status(runTool('knip', [])),
    ),
  docs: () => inOrder(() => turbo('docs'), mergeDocs),
  pack: async () => {
    await build()
    return packAll()
  },
  'new-algorithm': newAlgorithm,
  changeset: (args) => status(runTool('changeset', args)),
  pnpm: (args) => status(runPnpm(args)),
  ci: (args) =>
    runChecks([
      ['install', async () => (await ensureDependencies(), 0)],
      ['test', () => tasks.test([])],
      ['lint', () => tasks.lint()],
      ['typecheck', () => tasks.typecheck([])],
      ['build', () => tasks.build([])],
      ['packages', () => tasks['check:packages']()],
      ['docs', () => tasks.docs()],
      ['conformance', () => tasks.conformance([])],
      ...(args.includes('--long') ? [['test:long', () => tasks['test:long']([])]] : []),
    ]),
}

// What comes before a task: `pnpm` is what mends a lockfile that no longer fits; `ci` counts the installation as a check of its own.
const preparations = { pnpm: ensurePnpm, ci: () => Promise.resolve() }

/**
 * @param {string | undefined} name
 * @param {readonly string[]} args
 * @returns {Promise<number>} exit status
 */
export async function runTask(name, args) {
  if (name === undefined || !Object.hasOwn(tasks, name)) {
    console.error(`Unknown task '${name ?? ''}': expected one of ${Object.keys(tasks).join(', ')}.`)
    return 2
  }
  try {
    await (preparations[name] ?? ensureDependencies)()
    return await tasks[name](args)
  } catch (error) {
    if (!(error instanceof TaskError)) throw error
    console.error(error.message)
    return 1
  }
}
