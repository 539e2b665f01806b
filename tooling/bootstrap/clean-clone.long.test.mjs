import { readFileSync, writeFileSync } from 'node:fs'
import { afterAll, describe, expect, it } from 'vitest'
import { repositoryCopy } from '../testing/repository-copy.mjs'
import { bareNpm } from '../testing/run-npm.mjs'

describe('a clone with only Node and npm, and an empty home', () => {
  const copy = repositoryCopy()
  const npm = (...args) => bareNpm(args, { cwd: copy.folder, home: copy.home })
  afterAll(() => copy.remove())

  it('starts in under five minutes and shows the table of papers', () => {
    const { status, output, seconds } = npm('start')
    expect(status, output).toBe(0)
    expect(output).toContain('h-calibration')
    expect(seconds).toBeLessThan(300)
  })

  it('installs and builds nothing the second time', () => {
    const { status, output } = npm('run', 'bench', '--', 'list')
    expect(status, output).toBe(0)
    expect(output).not.toContain('installing')
  })

  it('names the remedy when a package.json and the lockfile disagree', () => {
    const manifest = `${copy.folder}/tooling/package.json`
    const text = readFileSync(manifest, 'utf8')
    writeFileSync(manifest, text.replace('"turbo": "catalog:",', '"turbo": "catalog:",\n    "fflate": "catalog:",'))
    const { status, output } = npm('run', 'bench', '--', 'list')
    writeFileSync(manifest, text)
    expect(status).toBe(1)
    expect(output).toContain('run `npm run pnpm -- install` and commit the lockfile')
  })
})
