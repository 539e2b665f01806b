import { cli } from './cli'
import type { RunEntry } from './papers'
import { processTerminal } from './terminal'

/** Runs the command of this process: its arguments, its terminal, its signals, its exit status. */
export async function runProcess(papers: readonly RunEntry[]): Promise<void> {
  const interruption = new AbortController()
  process.on('SIGINT', () => {
    // A second Ctrl-C is from someone who will not wait for the step to end.
    if (interruption.signal.aborted) process.exit(130)
    interruption.abort()
  })
  // `bpf-bench list | head` is no error.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))
  // `process.exit` would cut off what is still on its way into a pipe.
  process.exitCode = await cli(process.argv.slice(2), papers, processTerminal(interruption.signal))
}
