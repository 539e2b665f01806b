import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { root } from '../bootstrap/workspace.mjs'

/** Every file of the repository that git does not ignore, as paths from the root. */
export function repositoryFiles() {
  const list = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1e8,
  })
  return list.split('\0').filter((path) => path !== '' && existsSync(join(root, path)))
}

/**
 * A copy of the working tree as it would be cloned, with a home folder of its own beside it.
 *
 * @returns {{ folder: string, home: string, remove: () => void }}
 */
export function repositoryCopy() {
  const base = mkdtempSync(join(tmpdir(), 'bpf-copy-'))
  const folder = join(base, 'repository')
  for (const path of repositoryFiles()) {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    cpSync(join(root, path), join(folder, path))
  }
  const home = join(base, 'home')
  mkdirSync(home)
  return { folder, home, remove: () => rmSync(base, { recursive: true, force: true }) }
}
