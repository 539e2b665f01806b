import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { countTests } from './ci.mjs'

const folder = mkdtempSync(join(tmpdir(), 'bpf-ci-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe('countTests', () => {
  it('adds up packages, and counts a file that does not load as a failed test', () => {
    const file = join(folder, 'results.json')
    const testResults = [
      { status: 'failed', assertionResults: [{ status: 'failed' }, { status: 'passed' }] },
      { status: 'failed', assertionResults: [] },
      { status: 'passed', assertionResults: [{ status: 'passed' }] },
    ]
    writeFileSync(file, JSON.stringify({ numPassedTests: 2, numFailedTests: 1, testResults }))
    expect(countTests([file, file, join(folder, 'missing.json')])).toEqual({ passed: 4, failed: 4 })
  })
})
