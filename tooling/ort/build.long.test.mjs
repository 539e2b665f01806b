import { mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { runNode } from '../bootstrap/process.mjs'
import { buildPlatforms, hostPlatform, packageFolder, platforms } from './build.mjs'

const base = mkdtempSync(join(tmpdir(), 'bpf-ort-test-'))
afterAll(() => rmSync(base, { recursive: true, force: true }))

it("the host's package, built from npm's tarball, loads with its two files side by side and nothing else", async () => {
  const folder = packageFolder(hostPlatform, base)
  mkdirSync(folder, { recursive: true })
  await buildPlatforms([hostPlatform], { base })
  const bytes = platforms[hostPlatform].reduce((sum, file) => sum + statSync(join(folder, file)).size, 0)
  expect(bytes).toBeLessThan(50e6)

  const program = `console.log(require(${JSON.stringify(join(folder, 'onnxruntime_binding.node'))}).listSupportedBackends()[0].name)`
  const { status, stdout, stderr } = await runNode('-e', [program], { cwd: base, capture: true })
  expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: 'cpu\n', stderr: '' })
})
