import { expect, it } from 'vitest'
import { synthetic } from '../test/synthetic'
import { fitEnsembleTemperature } from './ensemble-temperature-scaling'

const { truth, labels, classes } = synthetic(24, 1500, 5)
const sharp = truth.map((z) => 2 * z)
const options = { classes }

it('has weights on the simplex that no other point of a grid beats', async () => {
  const { weights, meanSquaredError, temperature } = await fitEnsembleTemperature(sharp, labels, options)
  expect(weights.every((w) => w >= 0)).toBe(true)
  expect(weights[0] + weights[1] + weights[2]).toBeCloseTo(1, 12)
  const mse = async (w: number[]): Promise<number> => {
    const tempered = (await fitEnsembleTemperature(sharp, labels, { ...options, temperature })).save()
    const { loadCalibrator } = await import('./load-calibrator')
    const p = loadCalibrator({ ...tempered, parameters: { ...tempered.parameters, weights: w } }).apply(sharp)
    return p.reduce((sum, value, i) => sum + (value - (labels[Math.floor(i / classes)] === i % classes ? 1 : 0)) ** 2, 0) / p.length
  }
  expect(await mse(Array.from(weights))).toBeCloseTo(meanSquaredError, 12)
  for (let a = 0; a <= 4; a++)
    for (let b = 0; a + b <= 4; b++) expect(await mse([a / 4, b / 4, (4 - a - b) / 4])).toBeGreaterThanOrEqual(meanSquaredError - 1e-12)
})

it('keeps the ranking of every row', async () => {
  const probabilities = (await fitEnsembleTemperature(sharp, labels, options)).apply(sharp)
  for (let at = 0; at < sharp.length; at += classes) {
    const order = (values: Float64Array): number[] => [...Array(classes).keys()].sort((i, j) => values[at + i] - values[at + j])
    expect(order(probabilities)).toEqual(order(sharp))
  }
})
