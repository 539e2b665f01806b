import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { bareNpm } from '../testing/run-npm.mjs'
import { findWorkspace, readJson, root, workspaces } from './workspace.mjs'

const sentence = 'Nothing to install by hand: run `npm start` or `npm test`, they install what they need.'

const runNode = (args, env = {}) => spawnSync(process.execPath, args, { cwd: root, encoding: 'utf8', env: { ...process.env, ...env } })

describe('npm install at the root', () => {
  let folder
  let result
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'bpf-install-'))
    const manifests = workspaces().map(({ path }) => `${path}/package.json`)
    for (const file of [
      'package.json',
      '.npmrc',
      'pnpm-workspace.yaml',
      'pnpm-lock.yaml',
      'tooling/bootstrap/preinstall.mjs',
      ...manifests,
    ]) {
      cpSync(join(root, file), join(folder, file))
    }
    mkdirSync(join(folder, 'home'))
    result = bareNpm(['install'], { cwd: folder, home: join(folder, 'home') })
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  it('fails and says what to run instead', () => {
    expect(result.status).not.toBe(0)
    expect(result.output.split('\n').filter((line) => line !== '' && !/^(npm (error|err!|notice)|>)/i.test(line))).toEqual([sentence])
  })

  it('does not stop at the catalog', () => {
    expect(result.output).not.toContain('EUNSUPPORTEDPROTOCOL')
  })
})

describe('the preinstall guard', () => {
  const guard = 'tooling/bootstrap/preinstall.mjs'
  it.each(['npm/11.1.0 node/v20.19.0 linux x64', 'yarn/1.22.22 npm/? node/v20.19.0', ''])('stops %s', (agent) => {
    const { status, stderr } = runNode([guard], { npm_config_user_agent: agent })
    expect(status).toBe(1)
    expect(stderr).toBe(`${sentence}\n`)
  })

  it('lets pnpm pass', () => {
    expect(runNode([guard], { npm_config_user_agent: 'pnpm/10.34.9 npm/? node/v20.19.0 linux x64' })).toMatchObject({
      status: 0,
      stderr: '',
    })
  })
})

describe('the pack guard', () => {
  it('stops npm pack and lets pnpm pass', () => {
    expect(runNode(['tooling/pack/guard.mjs'], { npm_config_user_agent: 'npm/11.1.0' }).status).toBe(1)
    expect(runNode(['tooling/pack/guard.mjs'], { npm_config_user_agent: 'pnpm/10.34.9' }).status).toBe(0)
  })
})

describe('run.mjs', () => {
  const withNode = (version) => [
    '--import',
    `data:text/javascript,Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '${version}' } })`,
    'tooling/bootstrap/run.mjs',
    'no-such-task',
  ]

  it.each(['18.20.4', '20.18.3'])('says in one sentence that Node %s is too old', (version) => {
    const { status, stderr } = runNode(withNode(version))
    expect(status).toBe(1)
    expect(stderr).toBe(
      `This repository needs Node 20.19 or newer, this is Node ${version}: install a newer one from https://nodejs.org.\n`,
    )
  })

  it('names the tasks when it does not know one', () => {
    const { status, stderr } = runNode(withNode('20.19.0'))
    expect(status).toBe(2)
    expect(stderr).toContain("Unknown task 'no-such-task': expected one of start, bench, build, test")
  })
})

describe('the root package.json', () => {
  const manifest = readJson(join(root, 'package.json'))

  it('has no dependencies: everything comes from the workspace', () => {
    expect(Object.keys(manifest).filter((key) => /dependencies$/i.test(key))).toEqual([])
  })

  it('pins pnpm exactly', () => {
    expect(manifest.packageManager).toMatch(/^pnpm@10\.\d+\.\d+$/)
  })
})

describe('findWorkspace', () => {
  it.each(['core', 'packages/core', './packages/core/', '@bpf/core'])('knows %s', (word) => {
    expect(findWorkspace(word)?.name).toBe('@bpf/core')
  })

  it('knows no workspace for part of a name', () => {
    expect(findWorkspace('cor')).toBeUndefined()
  })
})
