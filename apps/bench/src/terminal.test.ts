import picocolors from 'picocolors'
import { expect, it } from 'vitest'
import { formatSeconds, textTable } from './terminal'

it('lays out a table within the width: the flexible column wraps, numbers stand right', () => {
  const columns = [
    { label: 'nr', align: 'right' as const },
    { label: 'paper', flexible: true },
    { label: 'status', max: 10 },
  ]
  const rows = [
    ['3', 'A title that is longer than what is left', 'holds'],
    ['60', 'Short', 'not run here yet'],
  ]
  expect(textTable(columns, rows, 40, picocolors.createColors(false))).toBe(
    [
      'nr  paper                     status',
      ' 3  A title that is longer    holds',
      '    than what is left',
      '60  Short                     not run',
      '                              here yet',
    ].join('\n'),
  )
})

it('does not count colours as width', () => {
  const colors = picocolors.createColors(true)
  const [head, row] = textTable([{ label: 'a' }, { label: 'b' }], [[colors.green('holds'), 'x']], 80, picocolors.createColors(false)).split(
    '\n',
  )
  expect(head).toBe('a      b')
  expect(row.endsWith('  x')).toBe(true)
})

it('writes durations as people say them', () => {
  expect([0.85, 4.26, 59.7, 200, 7500].map(formatSeconds)).toEqual(['850 ms', '4.3 s', '1 min', '3 min 20 s', '2 h 5 min'])
})
