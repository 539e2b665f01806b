import { Writable } from 'node:stream'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { fitReporter, progressBar } from './progress'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

function screen(): { bars: NodeJS.WritableStream; text(): string } {
  let written = ''
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      written += chunk.toString()
      done()
    },
  })
  return { bars: Object.assign(stream, { isTTY: true, columns: 80, cursorTo: () => true, clearLine: () => true }), text: () => written }
}

it('shows nothing for work under two seconds, or where no one watches', () => {
  const { bars, text } = screen()
  const bar = progressBar({ bars }, 'short', 10)
  vi.advanceTimersByTime(1900)
  bar.update(9)
  bar.stop()
  vi.advanceTimersByTime(5000)
  expect(text()).toBe('')
  const unseen = progressBar({ bars: undefined }, 'x', 1)
  unseen.update(1)
  unseen.stop()
})

it('shows a bar with label and note once the work has taken two seconds', () => {
  const { bars, text } = screen()
  const bar = progressBar({ bars }, 'training', 10)
  vi.advanceTimersByTime(2100)
  bar.update(5, 'loss 0.25')
  vi.advanceTimersByTime(1000)
  expect(text()).toContain('training')
  expect(text()).toContain('50% loss 0.25')
  bar.stop()
})

it('reports a fit: a bar over its steps, metrics as rows', () => {
  const { bars, text } = screen()
  const rows: object[] = []
  const reporter = fitReporter({ bars }, 'fit', (row) => rows.push(row))
  reporter.report({ type: 'start', totalSteps: 4 })
  vi.advanceTimersByTime(2100)
  reporter.report({ type: 'step', step: 2, epoch: 0, metrics: { loss: 0.5 } })
  vi.advanceTimersByTime(500)
  reporter.report({ type: 'validation', step: 2, epoch: 0, metrics: { accuracy: 0.9 } })
  reporter.report({ type: 'end', step: 4, reason: 'done' })
  expect(text()).toContain('loss 0.5')
  expect(rows).toEqual([
    { run: 'fit', event: 'step', step: 2, epoch: 0, loss: 0.5 },
    { run: 'fit', event: 'validation', step: 2, epoch: 0, accuracy: 0.9 },
  ])
})
