import { expect, it } from 'vitest'
import { softmax, synthetic } from '../test/synthetic'
import { fitIsotonic } from './isotonic-regression'
import { isotonicKnots } from './shared/pav'
import type { ScalarMapsCalibrator } from './shared/scalar-maps'

const { truth, rows, labels, classes } = synthetic(26, 700, 4)

it('one map for all classes equals PAV over all sorted events, in float32 as well', async () => {
  const p = softmax(truth, classes)
  const order = [...p.keys()].sort((a, b) => p[a] - p[b])
  const expected = isotonicKnots(
    Float64Array.from(order, (i) => p[i]),
    order.map((i) => (labels[Math.floor(i / classes)] === i % classes ? 1 : 0)),
  )
  const { x, y } = (await fitIsotonic(rows, labels)).save().parameters as unknown as { x: Float64Array; y: Float64Array }
  expect(Array.from(x)).toEqual(Array.from(expected.x))
  y.forEach((value, i) => expect(value).toBeCloseTo(expected.y[i], 12))
  const single = await fitIsotonic(Float32Array.from(truth), labels, { classes })
  const wide = (await fitIsotonic(rows, labels)).apply(rows)
  single
    .apply(Float32Array.from(truth))
    .forEach((value, i) => expect(Math.abs(value - wide[Math.floor(i / classes)][i % classes])).toBeLessThan(0.02))
})

it('one map for all classes never reverses two classes of a row', async () => {
  const probabilities = (await fitIsotonic(rows, labels)).apply(rows)
  rows.forEach((z, i) => {
    for (let a = 0; a < classes; a++)
      for (let b = 0; b < classes; b++) if (z[a] > z[b]) expect(probabilities[i][a]).toBeGreaterThanOrEqual(probabilities[i][b])
  })
})

it('the top label keeps the mean accuracy', async () => {
  const fitted = (await fitIsotonic(rows, labels, { variant: 'topLabel' })) as ScalarMapsCalibrator
  const q = fitted.confidence(rows)
  const accuracy = rows.filter((row, i) => row.indexOf(Math.max(...row)) === labels[i]).length / rows.length
  expect(q.reduce((sum, value) => sum + value, 0) / q.length).toBeCloseTo(accuracy, 10)
})

it('each class against the rest gives normalised rows', async () => {
  for (const row of (await fitIsotonic(rows, labels, { variant: 'oneVsRest' })).apply(rows))
    expect(row.reduce((sum, p) => sum + p, 0)).toBeCloseTo(1, 12)
})
