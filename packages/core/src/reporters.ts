import type { FitEvent, Reporter } from './training'

/** Where a reporter writes: `process.stderr`, or anything alike. */
export interface TextSink {
  write(text: string): unknown
  readonly isTTY?: boolean
  readonly columns?: number
}

/** One JSON object per training event, one per line, for machines. @param sink - where the lines go */
export function jsonLinesReporter(sink: TextSink): Reporter {
  return { report: (event) => void sink.write(`${JSON.stringify(event)}\n`) }
}

function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '--:--'
  const whole = Math.round(seconds)
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60]
  return (parts[0] === 0 ? parts.slice(1) : parts).map((part) => String(part).padStart(2, '0')).join(':')
}

function metricsText(metrics: Record<string, number>): string {
  return Object.entries(metrics)
    .map(([name, value]) => `${name} ${Math.abs(value) >= 1e-3 || value === 0 ? value.toPrecision(4) : value.toExponential(2)}`)
    .join('  ')
}

/**
 * A progress bar with rate, time left and the latest metrics, on one line of a terminal, redrawn at most ten times a
 * second. On something that is not a terminal: one line per validation and at the end.
 *
 * @param sink - usually `process.stderr`
 * @param now - the clock in milliseconds, replaced in tests
 */
export function terminalReporter(sink: TextSink, now: () => number = () => performance.now()): Reporter {
  let total: number | undefined
  let label = ''
  let started = 0
  let firstStep: number | undefined
  let drawn = -Infinity
  let validation = ''

  const line = (step: number, epoch: number, metrics: Record<string, number>): string => {
    const seconds = (now() - started) / 1000
    const done = step - (firstStep ?? step)
    const rate = done > 0 && seconds > 0 ? done / seconds : 0
    const left = total === undefined || rate === 0 ? Infinity : (total - step) / rate
    const bar = total === undefined ? '' : `${'█'.repeat(Math.round((20 * step) / total)).padEnd(20, '░')} `
    const count = total === undefined ? `${step}` : `${step}/${total}`
    return `${label}${bar}${count}  epoch ${epoch + 1}  ${rate.toFixed(1)} steps/s  ${duration(left)} left  ${metricsText(metrics)}${validation}`
  }
  const draw = (text: string): void => {
    const width = sink.columns ?? 120
    sink.write(`\r\u001b[2K${text.length >= width ? text.slice(0, width - 1) : text}`)
  }

  const handle = (event: FitEvent): void => {
    switch (event.type) {
      case 'start':
        total = event.totalSteps
        label = event.stage === undefined ? '' : `stage ${event.stage + 1}/${event.stageCount}  `
        started = now()
        firstStep = undefined
        drawn = -Infinity
        break
      case 'step':
        firstStep ??= event.step - 1
        if (sink.isTTY && now() - drawn >= 100) {
          drawn = now()
          draw(line(event.step, event.epoch, event.metrics))
        }
        break
      case 'validation':
        validation = `  val ${metricsText(event.metrics)}`
        if (!sink.isTTY) sink.write(`${label}step ${event.step}  epoch ${event.epoch + 1}${validation}\n`)
        break
      case 'checkpoint':
        break
      case 'end':
        if (sink.isTTY) sink.write('\r\u001b[2K')
        sink.write(
          `${label}${event.reason === 'done' ? 'done' : event.reason} after ${event.step} steps, ${duration((now() - started) / 1000)}${validation}\n`,
        )
        break
    }
  }
  return { report: handle }
}
