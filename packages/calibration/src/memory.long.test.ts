import { expect, it } from 'vitest'
import {
  calibrationMetricNames,
  calibrationMetrics,
  fitBayesianBinning,
  fitHistogramBinning,
  fitIsotonic,
  fitSpline,
  fitTemperature,
  fitVectorScaling,
  type Calibrator,
} from './index'

const rows = 50_000
const classes = 2000

/** Noise by a linear congruential generator, and a peak at the label in three of four rows. */
function bigLogits(): { logits: Float32Array; labels: Int32Array } {
  const logits = new Float32Array(rows * classes)
  const labels = new Int32Array(rows)
  let state = 1
  const next = (): number => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32
  for (let row = 0; row < rows; row++) {
    for (let i = row * classes; i < (row + 1) * classes; i++) logits[i] = 4 * next() - 2
    labels[row] = Math.floor(next() * classes)
    logits[row * classes + (next() < 0.75 ? labels[row] : Math.floor(next() * classes))] += 4 + 8 * next()
  }
  return { logits, labels }
}

const peakBytes = (): number => process.resourceUsage().maxRSS * 1024

it('2,000 classes × 50,000 rows of float32 stay under 2 GB: fits, apply and metrics', { timeout: 1_200_000 }, async () => {
  const { logits, labels } = bigLogits()
  const options = { classes }
  const fits: Record<string, () => Promise<Calibrator>> = {
    temperature: () => fitTemperature(logits, labels, options),
    vectorScaling: () => fitVectorScaling(logits, labels, { ...options, maxIterations: 2 }),
    isotonic: () => fitIsotonic(logits, labels, options),
    oneVsRest: () => fitHistogramBinning(logits, labels, { ...options, mode: 'oneVsRest' }),
    bayesianBinning: () => fitBayesianBinning(logits, labels, options),
    spline: () => fitSpline(logits, labels, options),
  }
  for (const [name, fit] of Object.entries(fits)) {
    const calibrator = await fit()
    const probabilities = calibrator.apply(logits)
    expect(probabilities).toBeInstanceOf(Float32Array)
    expect(peakBytes(), name).toBeLessThan(2e9)
  }
  const allPairs = ['SKCE', 'SKCE_biased', 'DKDE_CE']
  const metrics = calibrationMetrics(logits, labels, {
    ...options,
    input: 'logits',
    metrics: calibrationMetricNames.filter((name) => !allPairs.includes(name)),
  })
  expect(Object.values(metrics).every(Number.isFinite)).toBe(true)
  expect(peakBytes(), 'metrics').toBeLessThan(2e9)
})
