import { describe, expect, it } from 'vitest'

const { spawn } = process.getBuiltinModule('node:child_process')

/** Folders and files of tests that run on the backend of `BPF_BACKEND`. */
const subset = [
  'src/nn',
  'src/optim',
  'src/random',
  'src/data',
  'src/metrics',
  'src/fit.test.ts',
  'src/tree.test.ts',
  'src/control.test.ts',
]

function runTests(backend: string): Promise<{ code: number | null; output: string }> {
  const { BPF_LONG_TESTS: _, ...env } = process.env
  return new Promise((resolve) => {
    const child = spawn('npx', ['vitest', 'run', '--reporter=default', ...subset], { env: { ...env, BPF_BACKEND: backend } })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()))
    child.on('close', (code) => resolve({ code, output }))
  })
}

describe('everything runs on', () => {
  it.each(['onnx', 'cpu', 'wasm'])('%s, by BPF_BACKEND', async (backend) => {
    const { code, output } = await runTests(backend)
    expect(code, output.slice(-4000)).toBe(0)
    expect(output).toMatch(/Tests .*passed/)
  })
})
