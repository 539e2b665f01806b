import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

function root(folder: string): string {
  return existsSync(join(folder, 'package.json')) || dirname(folder) === folder ? folder : root(dirname(folder))
}

/** The folder of this package, from its sources and from its build alike. */
export const packageFolder = root(dirname(fileURLToPath(import.meta.url)))
