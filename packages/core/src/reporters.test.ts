import { describe, expect, it } from 'vitest'
import { jsonLinesReporter, terminalReporter, type TextSink } from './reporters'
import type { Reporter } from './training'

function sink(isTTY: boolean): TextSink & { text: string } {
  return {
    isTTY,
    columns: 200,
    text: '',
    write(text: string) {
      this.text += text
    },
  }
}

function play(reporter: Reporter): void {
  reporter.report({ type: 'start', totalSteps: 10, stage: 0, stageCount: 2 })
  reporter.report({ type: 'step', step: 1, epoch: 0, metrics: { loss: 0.5 } })
  reporter.report({ type: 'step', step: 5, epoch: 0, metrics: { loss: 1e-5 } })
  reporter.report({ type: 'validation', step: 5, epoch: 0, metrics: { accuracy: 0.75 } })
  reporter.report({ type: 'end', step: 5, reason: 'aborted' })
}

it('jsonLinesReporter writes one object per line', () => {
  const out = sink(false)
  play(jsonLinesReporter(out))
  const lines = out.text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { type: string })
  expect(lines.map(({ type }) => type)).toEqual(['start', 'step', 'step', 'validation', 'end'])
})

describe('terminalReporter', () => {
  it('draws a bar with rate, time left and metrics on a terminal', () => {
    let time = 0
    const out = sink(true)
    play(terminalReporter(out, () => (time += 1000)))
    expect(out.text).toContain('stage 1/2  ██████████░░░░░░░░░░ 5/10  epoch 1')
    expect(out.text).toMatch(/steps\/s {2}\d\d:\d\d left {2}loss 1\.00e-5/)
    expect(out.text).toContain('aborted after 5 steps')
  })

  it('writes a line per validation elsewhere', () => {
    const out = sink(false)
    play(terminalReporter(out, () => 0))
    expect(out.text).toBe('stage 1/2  step 5  epoch 1  val accuracy 0.7500\nstage 1/2  aborted after 5 steps, 00:00  val accuracy 0.7500\n')
  })
})
