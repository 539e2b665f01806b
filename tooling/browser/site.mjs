// Builds small web pages with Vite from packed packages, and runs them in a headless Chromium.
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { chromium } from 'playwright-core'
import { build, preview } from 'vite'
import { filesEndingIn } from '../bootstrap/workspace.mjs'

/** Where Debian puts Chromium; nothing is downloaded. */
export const chromiumPath = '/usr/bin/chromium'

const chromiumArguments = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

/**
 * Builds a page with one module.
 *
 * @param {string} project - a folder with the packages in node_modules
 * @param {string} name - name of the page's folder in it
 * @param {Record<string, string>} files - file name → code; `main.ts` is the page's module
 * @returns {Promise<string>} the built site's folder
 */
export async function buildSite(project, name, files) {
  const root = join(project, name)
  mkdirSync(join(root, 'public'), { recursive: true })
  writeFileSync(
    join(root, 'index.html'),
    '<!doctype html><title>@bpf</title><link rel="icon" href="data:," /><script type="module" src="./main.ts"></script>\n',
  )
  for (const [file, code] of Object.entries(files)) writeFileSync(join(root, file), code)
  // In a bundle TensorFlow.js looks for its .wasm files beside the page.
  const wasm = join(project, 'node_modules/@tensorflow/tfjs-backend-wasm/dist')
  if (existsSync(wasm))
    for (const file of readdirSync(wasm).filter((file) => file.endsWith('.wasm'))) cpSync(join(wasm, file), join(root, 'public', file))
  await build({ root, configFile: false, base: './', logLevel: 'error', build: { target: 'es2022', chunkSizeWarningLimit: 10_000 } })
  return join(root, 'dist')
}

/** All JavaScript of a built site. */
export function builtJavaScript(site) {
  return filesEndingIn(site, '.js')
    .map((file) => readFileSync(join(site, file), 'utf8'))
    .join('\n')
}

/** Bytes of all JavaScript of a built site, each file gzipped as a server would send it. */
export function gzippedJavaScript(site) {
  return filesEndingIn(site, '.js').reduce((bytes, file) => bytes + gzipSync(readFileSync(join(site, file)), { level: 9 }).length, 0)
}

/**
 * Serves a built site on this machine and opens it.
 *
 * @param {string} site - folder of the built site; its module sets `document.title` to `done` when it is through
 * @param {number} [timeout] - milliseconds
 * @returns {Promise<{ logs: string[], errors: string[], result: unknown }>} console output, errors, and what the page left in `globalThis.result`
 */
export async function openSite(site, timeout = 120_000) {
  const server = await preview({ root: dirname(site), configFile: false, logLevel: 'silent', preview: { host: '127.0.0.1', port: 0 } })
  const browser = await chromium.launch({ executablePath: chromiumPath, args: chromiumArguments })
  try {
    const page = await browser.newPage()
    const logs = []
    const errors = []
    page.on('console', (message) => (message.type() === 'error' || message.type() === 'warning' ? errors : logs).push(message.text()))
    page.on('pageerror', (error) => errors.push(String(error)))
    await page.goto(`http://127.0.0.1:${server.httpServer.address().port}/`)
    await page.waitForFunction(() => document.title === 'done', undefined, { timeout }).catch((error) => errors.push(String(error)))
    return { logs, errors, result: await page.evaluate(() => globalThis.result) }
  } finally {
    await browser.close()
    await server.close()
  }
}
