import { expect, it } from 'vitest'
import { synthetic } from '../test/synthetic'
import { calibrationMetrics } from './calibration-metrics'
import { fitTemperature } from './temperature-scaling'
import { fitVectorScaling } from './vector-scaling'

const { truth, rows, labels, classes } = synthetic(22, 1500, 4)

it('gives each class its frequency as the mean probability', async () => {
  const fitted = await fitVectorScaling(rows, labels)
  const probabilities = fitted.apply(rows)
  for (let k = 0; k < classes; k++) {
    const mean = probabilities.reduce((sum, row) => sum + row[k], 0) / rows.length
    expect(mean).toBeCloseTo(labels.filter((y) => y === k).length / rows.length, 6)
  }
})

it('undoes a shift and a scale of single classes, which a temperature cannot', async () => {
  const distorted = truth.map((z, i) => (i % classes === 0 ? 0.5 * z + 2 : i % classes === 1 ? 2 * z : z))
  const score = async (fit: typeof fitTemperature | typeof fitVectorScaling): Promise<number> =>
    calibrationMetrics((await fit(distorted, labels, { classes })).apply(distorted), labels, { classes, metrics: ['NLL'] }).NLL
  const own = calibrationMetrics(truth, labels, { classes, input: 'logits', metrics: ['NLL'] }).NLL
  expect(await score(fitVectorScaling)).toBeLessThan(own)
  expect(await score(fitTemperature)).toBeGreaterThan(own + 0.1)
})
