/**
 * Runs the kernel tests that @tensorflow/tfjs-core ships in its package against one backend.
 *
 *   node conformance/run.mjs --backend onnx|cpu|wasm [--compiled] [--json FILE] [--grep TEXT]
 *
 * For the backend onnx lowerings are forced (BPF_ONNX_FALLBACK=never) unless the variable is set; only the kernels of
 * src/fallback-kernels.ts may then run as the cpu backend does. With --compiled each kernel call is traced with symbolic
 * inputs and run as a compiled function. Exits with 1 on a failure, and when a kernel that the list does not name never
 * ran natively.
 */
import { writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { build } from 'esbuild'

const here = dirname(fileURLToPath(import.meta.url))
const { values: options } = parseArgs({
  options: {
    backend: { type: 'string', default: 'onnx' },
    json: { type: 'string' },
    grep: { type: 'string' },
    compiled: { type: 'boolean', default: false },
  },
})
process.env.BPF_ONNX_FALLBACK ??= 'never'

const require = createRequire(import.meta.url)
const core = dirname(require.resolve('@tensorflow/tfjs-core/package.json'))
const outfile = join(here, '..', 'node_modules', '.cache', 'conformance', `${options.backend}.cjs`)

/** One copy of the core package for the tests, the backends and the gradients: the one the tests import by file. */
const oneCore = {
  name: 'one-core',
  setup: ({ onResolve }) => {
    onResolve({ filter: /^@tensorflow\/tfjs-core$/ }, () => ({ path: join(core, 'dist', 'index.js') }))
    onResolve({ filter: /^@tensorflow\/tfjs-core\/dist\// }, ({ path }) => ({ path: require.resolve(path) }))
  },
}

await build({
  stdin: { contents: `import './suite-${options.backend}'\nrequire('@tensorflow/tfjs-core/dist/tests.js')`, resolveDir: here },
  outfile,
  bundle: true,
  platform: 'node',
  format: 'cjs',
  mainFields: ['module', 'main'],
  plugins: [oneCore],
  external: ['jasmine-core', 'onnxruntime-common', 'onnxruntime-node'],
  define: { 'import.meta.url': 'moduleUrl' },
  banner: { js: `const moduleUrl = ${JSON.stringify(pathToFileURL(join(here, 'run.mjs')).href)};` },
  // The core package declares its tests free of side effects.
  ignoreAnnotations: true,
  logLevel: 'error',
})

const jasmineCore = require('jasmine-core')
const jasmine = jasmineCore.boot(jasmineCore)
const env = jasmine.getEnv()
env.configure({ random: false, ...(options.grep === undefined ? {} : { specFilter: (spec) => spec.getFullName().includes(options.grep) }) })

const binaries = options.backend === 'wasm' ? join(dirname(require.resolve('@tensorflow/tfjs-backend-wasm/package.json')), 'dist', '/') : ''
globalThis.conformance = {
  compiled: options.compiled,
  binaries,
  counts: () => ({ native: {}, fallback: {}, neverNative: [] }),
  afterSpec: () => {},
}
const result = { backend: options.backend, compiled: options.compiled, passed: 0, failed: 0, pending: 0, failures: [] }
env.addReporter({
  specDone: (spec) => {
    globalThis.conformance.afterSpec()
    if (spec.status === 'passed') result.passed++
    else if (spec.status === 'failed') {
      result.failed++
      result.failures.push({ name: spec.fullName, messages: spec.failedExpectations.map(({ message }) => message.slice(0, 600)) })
    } else if (spec.status === 'pending') result.pending++
  },
})
const done = new Promise((resolve) => env.addReporter({ jasmineDone: resolve }))
// The tests print progress and advice.
const { log, warn } = console
console.log = console.warn = () => {}
require(outfile)
env.execute()
await done
Object.assign(console, { log, warn })

Object.assign(result, globalThis.conformance.counts())
if (options.json !== undefined) await writeFile(options.json, `${JSON.stringify(result, undefined, 1)}\n`)
const total = result.passed + result.failed + result.pending
console.log(
  `${options.backend}${options.compiled ? ' (compiled)' : ''}: ${result.passed} of ${total} passed, ${result.failed} failed, ${result.pending} pending`,
)
for (const { name, messages } of result.failures.slice(0, 20)) console.log(`- ${name}\n    ${messages[0]?.split('\n')[0]}`)
// Every kernel that is not on the list has to have run natively.
const uncovered = options.grep === undefined && process.env.BPF_ONNX_FALLBACK === 'never' ? result.neverNative : []
if (uncovered.length > 0) console.log(`never ran natively: ${uncovered.join(', ')}`)
process.exit(result.failed > 0 || uncovered.length > 0 ? 1 : 0)
