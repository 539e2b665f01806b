import { resolve } from 'node:path'
import { Command, CommanderError } from 'commander'
import type { RunEntry } from './papers'
import type { Terminal } from './terminal'
import { duration, oneOf, UsageError } from './usage'

/** Exit statuses. */
const success = 0
const failure = 1
const badUsage = 2
const interrupted = 130

interface CommonOptions {
  json?: boolean
  verbose?: boolean
}

/**
 * The command `bpf-bench`.
 *
 * @param argv - words after the command's name
 * @param papers - the reproductions it knows
 * @returns the exit status: 0, 1 when a claim does not hold or something failed, 2 for bad usage, 130 after Ctrl-C
 */
export async function cli(argv: readonly string[], papers: readonly RunEntry[], terminal: Terminal): Promise<number> {
  const isVerbose = argv.includes('--verbose')
  let status = success
  const program = build(papers, { ...terminal, verbose: isVerbose }, (code) => (status = code))
  try {
    if (argv.length === 0) {
      program.outputHelp()
      return badUsage
    }
    await program.parseAsync([...argv], { from: 'user' })
    return status
  } catch (error) {
    if (error instanceof CommanderError) return commanderStatus(error, terminal)
    if (terminal.signal.aborted) {
      terminal.err('bpf-bench: stopped; what is finished is kept, and the same command with --resume goes on from there')
      return interrupted
    }
    const isOurs = error instanceof UsageError || (await import('@bpf/core')).isBpfError(error)
    const message = (error instanceof Error ? error.message : String(error)).replace(/\s*\n\s*/g, ' ')
    terminal.err(`bpf-bench: ${message}${isOurs || isVerbose ? '' : ' (unexpected: --verbose shows where)'}`)
    if (isVerbose && error instanceof Error && error.stack !== undefined) terminal.err(error.stack)
    return error instanceof UsageError ? badUsage : failure
  }
}

/** Commander's own complaints, in one line like all others. */
function commanderStatus(error: CommanderError, terminal: Terminal): number {
  if (error.exitCode === 0) return success
  const text = error.message
    .replace(/^error: /, '')
    .replace(/\s*\n\s*/g, ' ')
    .replace('(Did', '(did')
  terminal.err(`bpf-bench: ${text}; bpf-bench --help lists commands and options`)
  return badUsage
}

function build(papers: readonly RunEntry[], terminal: Terminal, finish: (status: number) => void): Command {
  const program = new Command('bpf-bench')
  program
    .description('Reproduces what machine-learning papers claim, with the @bpf packages.')
    .configureOutput({ writeOut: (text) => terminal.out(text.trimEnd()), writeErr: () => {} })
    .enablePositionalOptions()
    .exitOverride()

  const outFolder = (out: string): string => resolve(terminal.cwd, out)
  const verbose = (command: Command): Command => command.option('--verbose', 'with an error, show where in the code it arose')
  const common = (command: Command): Command => verbose(command.option('--json', 'results for machines on standard output'))
  // A command's code is loaded when it is asked for.
  const action =
    <Options extends object>(body: (options: Options & CommonOptions, args: string[]) => Promise<number> | number) =>
    async (...all: unknown[]): Promise<void> => {
      const command = all.at(-1) as Command
      finish(await body(command.opts<Options & CommonOptions>(), command.args))
    }

  common(program.command('list'))
    .description('papers that can be reproduced, and what the last runs showed')
    .option('--out <folder>', 'where results are looked for', 'bpf-out')
    .action(
      action<{ out: string }>(async (options) => {
        const { list } = await import('./commands/list')
        return list(papers, { ...options, out: outFolder(options.out) }, terminal)
      }),
    )

  const runOptions = (command: Command): Command =>
    common(command)
      .option('--seeds <n>', 'how many seeds (default: what the preset says)')
      .option('--only-claims', 'run only what claims need; no figures')
      .option('--backend <name>', 'tensor backend (default: the best that is installed)')
      .option('--data-dir <folder>', 'where data sets are looked for first')
      .option('--out <folder>', 'where results, figures and report.html go', 'bpf-out')
      .option('--resume', 'go on where an earlier run of the same settings stopped')

  runOptions(
    program
      .command('run')
      .description('reproduce papers: numbers, names, or all')
      .argument('<papers...>', 'paper numbers (60), names (h-calibration), or all')
      .option('--preset <name>', 'quick (seconds), embedded (minutes), full (as in the paper)', 'quick'),
  ).action(
    action<import('./commands/run').RunOptions>(async (options, args) => {
      const { run } = await import('./commands/run')
      return run(args, { ...options, ...(await checkedBackend(options)), out: outFolder(options.out) }, papers, terminal)
    }),
  )

  runOptions(
    program
      .command('start')
      .description('a first look: one quick reproduction for each package, then all papers')
      .argument('[all]', 'all: every paper, without a budget')
      .option('--budget <duration>', 'time for all of them', '90s'),
  ).action(
    action<import('./commands/run').RunOptions & { budget: string }>(async (options, args) => {
      const { start } = await import('./commands/run')
      const given = {
        ...options,
        ...(await checkedBackend(options)),
        out: outFolder(options.out),
        budget: duration('--budget', options.budget),
      }
      return start(args[0], given, papers, terminal)
    }),
  )

  common(program.command('report'))
    .description('write report.html again, or one report of several runs')
    .argument('<out...>', 'folders that runs wrote')
    .option('--out <folder>', 'where the merged report goes (default: the first folder)')
    .action(
      action<{ out?: string }>(async (options, args) => {
        const { report } = await import('./commands/report')
        return report(args, options, terminal)
      }),
    )

  verbose(program.command('perf'))
    .description('our speed beside a Python library on the same arithmetic')
    .option('--peer <library>', 'a Python library to compare with: torch, numpy or jax')
    .option('--only <workloads>', 'names, separated by commas')
    .option('--no-tfjs', "leave out TensorFlow.js's own backends, wasm and cpu")
    .option('--pairs <n>', 'interleaved pairs of timings', '7')
    .option('--python <command>', 'the Python that has the library')
    .option('--backend <name>', 'tensor backend (default: the best that is installed)')
    .option('--json [file]', 'rows for machines, on standard output or into a file')
    .action(
      action<import('./commands/perf').PerfOptions>(async (options) => {
        const { perf } = await import('./commands/perf')
        return perf({ ...options, ...(await checkedBackend(options)) }, terminal)
      }),
    )

  const data = program.command('data').description('data sets: list them, get one, check them').enablePositionalOptions()
  common(data.command('list'))
    .description('known data sets and where they are')
    .option('--data-dir <folder>', 'where they are looked for first')
    .action(
      action<{ dataDir?: string }>(async (options) => {
        const { listData } = await import('./commands/data')
        return listData(options, terminal)
      }),
    )
  common(data.command('get'))
    .description('download a data set into the cache')
    .argument('<name>')
    .option('--data-dir <folder>', 'where it is looked for first')
    .option('--from <url>', 'a mirror: the address of the folder that has the files')
    .action(
      action<{ dataDir?: string; from?: string }>(async (options, args) => {
        const { getData } = await import('./commands/data')
        return getData(args[0], options, terminal)
      }),
    )
  common(data.command('check'))
    .description('compare the files with the published hashes')
    .argument('[names...]')
    .option('--data-dir <folder>', 'where they are looked for first')
    .action(
      action<{ dataDir?: string }>(async (options, args) => {
        const { checkData } = await import('./commands/data')
        return checkData(args, options, terminal)
      }),
    )

  common(program.command('doctor'))
    .description('what is on this machine: Node, backends, Python, data')
    .option('--data-dir <folder>', 'where data sets are looked for first')
    .action(
      action<{ dataDir?: string }>(async (options) => {
        const { doctor } = await import('./commands/doctor')
        return doctor(options, terminal)
      }),
    )
  return program
}

async function checkedBackend(options: { backend?: string }): Promise<{ backend?: import('@bpf/core').BackendName }> {
  if (options.backend === undefined) return {}
  const { backendNames } = await import('./commands/doctor')
  return { backend: oneOf('--backend', options.backend, backendNames) }
}
