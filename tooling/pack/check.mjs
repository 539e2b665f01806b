// Package checks on the tarballs that users would get: publint and are-the-types-wrong.
import { runTool } from '../bootstrap/process.mjs'
import { tarballs } from './tarballs.mjs'

/** @returns {Promise<number>} exit status */
export async function checkPackages() {
  let failures = 0
  for (const { name, path, manifest, tarball } of tarballs()) {
    const checks = [['publint', ['run', tarball, '--strict']]]
    // An app has a command, a native library a binary: no types to be wrong.
    if (path.startsWith('packages/') && manifest.exports !== undefined)
      checks.push(['attw', [tarball, '--profile', 'esm-only', '--format', 'table-flipped', '--no-emoji', '--quiet']])
    for (const [tool, args] of checks) {
      const { status, output } = await runTool(tool, args, { capture: true })
      console.log(`${status === 0 ? 'ok  ' : 'FAIL'} ${tool} ${name}`)
      if (status !== 0) {
        failures++
        console.log(output)
      }
    }
  }
  return failures > 0 ? 1 : 0
}
