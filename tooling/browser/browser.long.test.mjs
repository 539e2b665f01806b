import { execFileSync } from 'node:child_process'
import { copyFileSync, existsSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { root } from '../bootstrap/workspace.mjs'
import { consumerProject } from '../consumers/project.mjs'
import { readmeExample } from '../consumers/readme-example.mjs'
import { buildSite, builtJavaScript, chromiumPath, gzippedJavaScript, openSite } from './site.mjs'

const withChromium = existsSync(chromiumPath)
if (!withChromium)
  console.warn(`${chromiumPath} is not installed: the example is built but not run in a browser (apt-get install chromium).`)

/** Runs a README's example and leaves the backend it ran on. */
const runExample = `import { getBackend } from '@tensorflow/tfjs-core'
await import('./example')
globalThis.result = { backend: getBackend() }
document.title = 'done'
`

describe('packages in a browser', () => {
  let project
  beforeAll(async () => {
    project = await consumerProject(['@bpf/core', '@bpf/calibration', '@bpf/fewshot'])
  })
  afterAll(() => project?.remove())

  it(`the README example of calibration ${withChromium ? 'runs on wasm in Chromium' : 'builds with Vite'}`, async () => {
    const site = await buildSite(project.folder, 'example', {
      'example.ts': readmeExample(join(root, 'packages/calibration/README.md')),
      'main.ts': runExample,
    })
    if (!withChromium) return
    const { logs, errors, result } = await openSite(site)
    expect(errors).toEqual([])
    expect(result).toEqual({ backend: 'wasm' })
    expect(logs.length).toBeGreaterThan(0)
  })

  it(`fewshot labels new classes from five images each, by a saved backbone ${withChromium ? 'on wasm in Chromium' : '(built with Vite)'}`, async () => {
    copyFileSync(new URL('saved-backbone.mjs', import.meta.url), join(project.folder, 'saved-backbone.mjs'))
    execFileSync(process.execPath, ['saved-backbone.mjs', 'fewshot/public'], { cwd: project.folder, stdio: ['ignore', 'pipe', 'inherit'] })
    const site = await buildSite(project.folder, 'fewshot', {
      'example.ts': readmeExample(join(root, 'packages/fewshot/README.md'), 'In a browser'),
      'main.ts': runExample,
    })
    if (!withChromium) return
    const { logs, errors, result } = await openSite(site)
    expect(errors).toEqual([])
    expect(result).toEqual({ backend: 'wasm' })
    const labels = logs.at(-1).split(' ').map(Number)
    const right = labels.filter((label, i) => label === Math.floor(i / 15)).length
    expect(labels).toHaveLength(75)
    expect(right).toBeGreaterThan(67)
  })

  it('core and calibration add less than 150 kB gzipped to TensorFlow.js', async () => {
    const tensorflow = `import * as tf from '@tensorflow/tfjs-core'
import * as cpu from '@tensorflow/tfjs-backend-cpu'
import * as wasm from '@tensorflow/tfjs-backend-wasm'
`
    const alone = await buildSite(project.folder, 'alone', { 'main.ts': `${tensorflow}globalThis.result = { tf, cpu, wasm }\n` })
    const ours = await buildSite(project.folder, 'ours', {
      'main.ts': `${tensorflow}import * as core from '@bpf/core'
import * as calibration from '@bpf/calibration'
globalThis.result = { tf, cpu, wasm, core, calibration }
`,
    })
    const added = (gzippedJavaScript(ours) - gzippedJavaScript(alone)) / 1000
    console.log(`core and calibration add ${added.toFixed(1)} kB gzipped to ${(gzippedJavaScript(alone) / 1000).toFixed(1)} kB`)
    expect(added).toBeLessThan(150)
    expect(builtJavaScript(ours), 'the engine is for Node').not.toMatch(/onnxruntime|@bpf\/ort-|\b(from|import)\s*\(?["']node:/)
  })
})
