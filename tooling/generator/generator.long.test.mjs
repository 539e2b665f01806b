import { cpSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { root } from '../bootstrap/workspace.mjs'
import { repositoryCopy } from '../testing/repository-copy.mjs'
import { bareNpm } from '../testing/run-npm.mjs'

const paper = ['--arxiv', '2501.01234', '--title', 'A made-up paper']

describe('a generated algorithm', () => {
  const copy = repositoryCopy()
  const npm = (...args) => bareNpm(args, { cwd: copy.folder, home: copy.home })
  beforeAll(() => {
    mkdirSync(join(copy.folder, '.tools'))
    cpSync(join(root, '.tools/node_modules'), join(copy.folder, '.tools/node_modules'), { recursive: true, verbatimSymlinks: true })
  })
  afterAll(() => copy.remove())

  it.each([
    ['in a package that exists', ['--package', 'calibration', '--name', 'made-up-map', '--paper', '98', ...paper], 'madeUpMap'],
    ['in a new package', ['--package', 'made-up', '--name', 'other-map', '--paper', '99', ...paper, '--new-package'], 'otherMap'],
  ])('%s builds, and has one failing test that says what to do', (_, args, camel) => {
    const generated = npm('run', 'new-algorithm', '--', ...args)
    expect(generated.status, generated.output).toBe(0)

    const name = args[args.indexOf('--name') + 1]
    const tests = npm('test', '--', name)
    expect(tests.status, tests.output).toBe(1)
    expect(tests.output).toContain(`${camel} is still what the generator wrote. Next:`)
    expect(tests.output.replaceAll(/\u001b\[\d+m/g, '')).toMatch(/Tests +1 failed \| 3 passed \(4\)/)

    const bench = npm('run', 'bench', '--', 'run', args[args.indexOf('--paper') + 1], '--preset', 'quick', '--out', join(copy.home, name))
    expect(bench.status, bench.output).toBe(0)
  })

  it('passes types, lint and the layout of the repository', () => {
    for (const task of [
      ['run', 'typecheck'],
      ['run', 'lint'],
      ['test', '--', 'tooling/repository'],
    ]) {
      const { status, output } = npm(...task)
      expect(status, output).toBe(0)
    }
  })
})
