// `npm run new-algorithm`: the files of a new algorithm, wired into its package, the READMEs and bench.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { createInterface } from 'node:readline/promises'
import { parseArgs } from 'node:util'
import { runPnpm, runTool } from '../bootstrap/process.mjs'
import { step, TaskError } from '../bootstrap/step.mjs'
import { root } from '../bootstrap/workspace.mjs'
import { generate } from './generate.mjs'

const usage = `npm run new-algorithm -- --package <package> --name <kebab-name> --paper <number> --arxiv <id> --title <title> [--slug <slug>] [--new-package]

  --package      the package it belongs to: local, gnn, calibration …
  --name         the method as the field names it, kebab-case: mono-forward
  --paper        its number in the list of papers: 1 … 99
  --arxiv        its arXiv id: 2506.17968
  --title        the paper's title
  --slug         name of its reproduction and golden vectors, NN-<slug>; default: the name
  --new-package  the package does not exist yet: lay it out

What is left out is asked for.`

const questions = {
  package: 'Package (local, gnn, calibration …)',
  name: 'Method, kebab-case (mono-forward)',
  paper: 'Number of the paper',
  arxiv: 'arXiv id (2506.17968)',
  title: 'Title of the paper',
}

/**
 * @param {readonly string[]} args
 * @returns {Promise<number>} exit status
 */
export async function newAlgorithm(args) {
  const text = { type: 'string' }
  const options = {
    package: text,
    name: text,
    paper: text,
    arxiv: text,
    title: text,
    slug: text,
    'new-package': { type: 'boolean' },
    help: { type: 'boolean' },
  }
  let flags
  try {
    flags = parseArgs({ args, options }).values
  } catch (error) {
    console.error(`${error.message}\n\n${usage}`)
    return 2
  }
  if (flags.help) {
    console.log(usage)
    return 0
  }
  const missing = Object.keys(questions).filter((name) => flags[name] === undefined)
  if (missing.length > 0 && !process.stdin.isTTY) {
    console.error(`Missing ${missing.map((name) => `--${name}`).join(', ')}.\n\n${usage}`)
    return 2
  }
  const answers = { ...flags, ...(await ask(missing)) }
  const isNew = !existsSync(join(root, 'packages', answers.package.replace(/^@bpf\//, ''), 'package.json'))
  if (isNew && !answers['new-package'] && process.stdin.isTTY) {
    const { create } = await ask(['create'], { create: `There is no package ${answers.package}: create it? (y/n)` })
    answers['new-package'] = /^y/i.test(create)
  }
  const { files, next } = generate(root, { ...answers, newPackage: answers['new-package'] === true })
  await step('formatting', () => runTool('prettier', ['--write', '--log-level=warn', ...files], { capture: true }))
  for (const file of files) console.log(file)
  if (answers['new-package']) {
    await step('linking the new package (pnpm-lock.yaml)', () =>
      runPnpm(['install', '--no-frozen-lockfile', '--prefer-offline'], { capture: true }),
    )
  }
  console.log(`\n${next}`)
  return 0
}

async function ask(names, texts = questions) {
  const answers = {}
  if (names.length === 0) return answers
  const terminal = createInterface({ input: process.stdin, output: process.stdout })
  for (const name of names) {
    answers[name] = (await terminal.question(`${texts[name]}: `)).trim()
    if (answers[name] === '') {
      terminal.close()
      throw new TaskError(`${texts[name]}: nothing was entered.`)
    }
  }
  terminal.close()
  return answers
}
