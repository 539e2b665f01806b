import type { FitEvent, Reporter } from '@bpf/core'
import { Presets, SingleBar } from 'cli-progress'
import { formatNumber } from './claims'
import type { ProgressBar } from './paper'
import type { Terminal } from './terminal'

/** Work shorter than this shows no bar. */
const quiet = 2000

/** A bar on standard error that appears once the work has taken two seconds; nothing where no one watches. */
export function progressBar(terminal: Pick<Terminal, 'bars'>, label: string, total: number): ProgressBar {
  const stream = terminal.bars
  if (stream === undefined) return { update: () => {}, stop: () => {} }
  const bar = new SingleBar(
    {
      stream,
      format: '{label} {bar} {percentage}% {note} {eta_formatted} left',
      barsize: 24,
      etaBuffer: 100,
      hideCursor: true,
      clearOnComplete: true,
      forceRedraw: true,
      noTTYOutput: false,
      gracefulExit: false,
    },
    Presets.shades_classic,
  )
  let done = 0
  let note = ''
  let shown = false
  const show = (): void => {
    shown = true
    bar.start(total, done, { label, note })
  }
  const timer = setTimeout(show, quiet)
  timer.unref()
  const begun = Date.now()
  return {
    update(newDone, newNote = '') {
      done = newDone
      note = newNote
      if (shown) bar.update(done, { note })
      // A loop that never yields would starve the timer.
      else if (Date.now() - begun > quiet) show()
    },
    stop() {
      clearTimeout(timer)
      if (shown) bar.stop()
    },
  }
}

function describe(metrics: Record<string, number>): string {
  return Object.entries(metrics)
    .slice(0, 3)
    .map(([name, value]) => `${name} ${formatNumber(value, 3)}`)
    .join('  ')
}

/** A reporter for `fit`: a bar over its steps, and every step's metrics handed to `log`. */
export function fitReporter(
  terminal: Pick<Terminal, 'bars'>,
  label: string,
  log: (row: Record<string, number | string>) => void,
): Reporter {
  let bar: ProgressBar | undefined
  return {
    report(event: FitEvent) {
      switch (event.type) {
        case 'start': {
          const stage = event.stage === undefined ? '' : ` ${event.stage + 1}/${event.stageCount}`
          bar?.stop()
          if (event.totalSteps !== undefined) bar = progressBar(terminal, label + stage, event.totalSteps)
          return
        }
        case 'step':
        case 'validation':
          log({ run: label, event: event.type, step: event.step, epoch: event.epoch, ...event.metrics })
          bar?.update(event.step, describe(event.metrics))
          return
        case 'checkpoint':
          return
        case 'end':
          bar?.stop()
          bar = undefined
      }
    },
  }
}
