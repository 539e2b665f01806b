// The first runnable block of a README, in the forms in which users run it.
import { existsSync, readFileSync } from 'node:fs'
import { TaskError } from '../bootstrap/step.mjs'

/**
 * @param {string} readme - path of a README.md
 * @param {string} [section] - heading of the section whose example is wanted; default the first of all
 * @returns {string} the code of its first ```ts or ```js block
 * @throws TaskError when there is none
 */
export function readmeExample(readme, section) {
  const text = existsSync(readme) ? readFileSync(readme, 'utf8').replaceAll('\r\n', '\n') : ''
  const start = section === undefined ? 0 : text.indexOf(`\n## ${section}\n`)
  const block = start < 0 ? null : /^```(?:ts|typescript|js|javascript|mjs)\n([\s\S]*?)^```/m.exec(text.slice(start))
  if (block === null) throw new TaskError(`${readme}: expected an example in a \`\`\`ts block, found none.`)
  return block[1]
}

/**
 * The same example for a CommonJS module, which has no top-level await: imports stay on top, the rest moves into an async function.
 *
 * @param {string} code
 */
export function insideMain(code) {
  const imports = /^import\s[^'"]*['"][^'"]+['"];?[ \t]*$/gm
  const head = code.match(imports) ?? []
  const body = code.replace(imports, '').trim()
  return `${head.join('\n')}\n\nasync function main() {\n${body.replace(/^(?=.)/gm, '  ')}\n}\n\nvoid main()\n`
}
