import { expect, it } from 'vitest'
import { softmax, synthetic } from '../test/synthetic'
import { fitTemperature } from './temperature-scaling'

const { truth, labels, classes } = synthetic(21, 2000)

it('finds the temperature that logits were scaled by', async () => {
  const { temperature } = await fitTemperature(
    truth.map((z) => 2.5 * z),
    labels,
    { classes },
  )
  const { temperature: own } = await fitTemperature(truth, labels, { classes })
  expect(own).toBeGreaterThan(0.93)
  expect(own).toBeLessThan(1.07)
  expect(temperature / own).toBeCloseTo(2.5, 9)
})

it('ends where the derivative is zero: Σ (p − e)·z = 0', async () => {
  const { temperature } = await fitTemperature(truth, labels, { classes })
  const p = softmax(
    truth.map((z) => z / temperature),
    classes,
  )
  let slope = 0
  for (let i = 0; i < p.length; i++) slope += (p[i] - (labels[Math.floor(i / classes)] === i % classes ? 1 : 0)) * truth[i]
  expect(Math.abs(slope) / labels.length).toBeLessThan(1e-10)
})

it('stops at the end of the range, with a warning, where labels are predicted without error', async () => {
  const fitted = await fitTemperature(
    [
      [2, 0],
      [0, 1],
      [3, 1],
    ],
    [0, 1, 0],
  )
  expect(fitted.temperature).toBeLessThan(0.0011)
  expect(fitted.warnings.join()).toMatch(/no optimum/)
})
