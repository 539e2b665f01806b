// `.ci/run`: every check, one after the other, each to its end; the last line is `N passed, N failed`.
import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { TaskError } from '../bootstrap/step.mjs'
import { readJson, workspaces } from '../bootstrap/workspace.mjs'

const resultFiles = () => workspaces().map(({ folder }) => join(folder, '.vitest/results.json'))

/**
 * @param {[name: string, run: () => Promise<number>][]} checks - each returns an exit status; those called `test…` run vitest,
 *   whose single tests are counted
 * @returns {Promise<number>} exit status
 */
export async function runChecks(checks) {
  const total = { passed: 0, failed: 0 }
  const summary = []
  for (const [name, run] of checks) {
    console.log(`\n=== ${name}`)
    for (const file of resultFiles()) rmSync(file, { force: true })
    const started = Date.now()
    const status = await run().catch((error) => {
      console.error(error instanceof TaskError ? error.message : error)
      return 1
    })
    const tests = name.startsWith('test') ? countTests() : { passed: 0, failed: 0 }
    // A check counts as one, beside the tests in it; a failing check whose failing tests are counted does not count twice.
    const passed = tests.passed + (status === 0 ? 1 : 0)
    const failed = tests.failed + (status !== 0 && tests.failed === 0 ? 1 : 0)
    total.passed += passed
    total.failed += failed
    summary.push(
      `${failed === 0 ? 'ok  ' : 'FAIL'} ${name}: ${passed} passed, ${failed} failed, ${Math.round((Date.now() - started) / 1000)} s`,
    )
  }
  console.log(`\n${summary.join('\n')}\n${total.passed} passed, ${total.failed} failed`)
  return total.failed > 0 ? 1 : 0
}

/** Tests of the run just made, over all workspaces. A file that fails before its first test counts as one failed test. */
export function countTests(files = resultFiles()) {
  const count = { passed: 0, failed: 0 }
  for (const file of files.filter((file) => existsSync(file))) {
    const { numPassedTests, numFailedTests, testResults } = readJson(file)
    count.passed += numPassedTests
    count.failed +=
      numFailedTests +
      testResults.filter((result) => result.status === 'failed' && result.assertionResults.every(({ status }) => status !== 'failed'))
        .length
  }
  return count
}
