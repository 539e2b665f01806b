// Runs the tools of this repository as child processes, always with the pinned ones first on the PATH.
import { spawn } from 'node:child_process'
import { accessSync, constants, existsSync } from 'node:fs'
import { constants as osConstants, homedir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import process from 'node:process'
import { readJson, root, toolsFolder } from './workspace.mjs'

/** Where the user was when they typed the command: npm changes to the root before it runs a script. */
export const userFolder = process.env.INIT_CWD ?? process.cwd()

function toolEnvironment(extra) {
  const env = { ...process.env }
  // What npm tells its own child about `npm start` must not configure the npm and pnpm that we run.
  for (const name of Object.keys(env)) {
    if (/^npm_(lifecycle|package|command|execpath|node_execpath)/.test(name) || /^npm_config_(local_)?prefix$/.test(name)) delete env[name]
  }
  const pathName = Object.keys(env).find((name) => name.toUpperCase() === 'PATH') ?? 'PATH'
  const bins = [join(toolsFolder, 'node_modules/.bin'), join(root, 'tooling/node_modules/.bin'), dirname(process.execPath)]
  env[pathName] = [...bins, env[pathName] ?? ''].join(delimiter)
  env.TURBO_TELEMETRY_DISABLED ??= '1'
  env.TURBO_NO_UPDATE_NOTIFIER ??= '1'
  // Turbo is a dependency of `tooling`, not of the root, where it would look for itself.
  env.TURBO_GLOBAL_WARNING_DISABLED ??= '1'
  env.DO_NOT_TRACK ??= '1'
  // A home that cannot be written (containers, CI) must not stop npm and pnpm: their caches then live in .tools.
  if (!writable(homedir())) {
    env.npm_config_cache ??= join(toolsFolder, 'npm-cache')
    env.npm_config_store_dir ??= join(toolsFolder, 'pnpm-store')
    env.XDG_CACHE_HOME ??= join(toolsFolder, 'cache')
    env.XDG_DATA_HOME ??= join(toolsFolder, 'data')
    env.XDG_STATE_HOME ??= join(toolsFolder, 'state')
    env.XDG_CONFIG_HOME ??= join(toolsFolder, 'config')
  }
  return { ...env, ...extra }
}

function writable(folder) {
  try {
    accessSync(folder, constants.W_OK)
    return true
  } catch {
    return false
  }
}

/**
 * Runs a Node program to its end. Ctrl-C reaches the child, which decides how to end.
 *
 * @param {string} script - absolute path of its JavaScript file
 * @param {readonly string[]} args
 * @param {{ cwd?: string, env?: Record<string, string>, capture?: boolean }} [options] - `capture`: keep the output, print nothing
 * @returns {Promise<{ status: number, stdout: string, stderr: string, output: string }>}
 *   exit status (128 + signal when a signal ended it), and what was captured: each stream, and both in the order they came
 */
export function runNode(script, args, options = {}) {
  return runProgram(process.execPath, [script, ...args], options)
}

/** As {@link runNode}, for the program `file`. */
export function runProgram(file, args, { cwd = root, env = {}, capture = false } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { cwd, env: toolEnvironment(env), stdio: capture ? ['ignore', 'pipe', 'pipe'] : 'inherit' })
    const text = { stdout: '', stderr: '', output: '' }
    for (const stream of ['stdout', 'stderr']) {
      child[stream]?.setEncoding('utf8').on('data', (chunk) => {
        text[stream] += chunk
        text.output += chunk
      })
    }
    const forward = { SIGINT: () => {}, SIGTERM: () => child.kill('SIGTERM'), SIGHUP: () => child.kill('SIGHUP') }
    for (const [signal, handler] of Object.entries(forward)) process.on(signal, handler)
    const stop = () => {
      for (const [signal, handler] of Object.entries(forward)) process.off(signal, handler)
    }
    child.on('error', (error) => {
      stop()
      reject(error)
    })
    child.on('close', (status, signal) => {
      stop()
      resolve({ status: status ?? 128 + osConstants.signals[signal], ...text })
    })
  })
}

/** Runs npm: the one that runs us, else the one beside this Node, else the one on the PATH. */
export function runNpm(args, options) {
  const beside = ['../lib/node_modules/npm/bin/npm-cli.js', 'node_modules/npm/bin/npm-cli.js'].map((path) =>
    join(dirname(process.execPath), path),
  )
  const candidates = [process.env.npm_execpath, ...beside].filter((path) => path !== undefined && /npm-cli\.js$/.test(path))
  const script = candidates.find((path) => existsSync(path))
  return script === undefined ? runProgram('npm', args, options) : runNode(script, args, options)
}

/** Runs the pinned pnpm. */
export function runPnpm(args, options) {
  return runNode(join(toolsFolder, 'node_modules/pnpm/bin/pnpm.cjs'), args, options)
}

const packageOfTool = { tsc: 'typescript', attw: '@arethetypeswrong/cli', changeset: '@changesets/cli' }

/** Runs a command of a package that `tooling` depends on: `runTool('turbo', ['run', 'build'])`. */
export function runTool(name, args, options) {
  const folder = join(root, 'tooling/node_modules', packageOfTool[name] ?? name)
  const { bin } = readJson(join(folder, 'package.json'))
  return runNode(join(folder, typeof bin === 'string' ? bin : bin[name]), args, options)
}
