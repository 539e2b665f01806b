import { expect, it } from 'vitest'
import { synthetic, toRows } from '../test/synthetic'
import { calibrationMetrics } from './calibration-metrics'
import { fitDirichlet, fitMatrixScaling } from './matrix-scaling'

const { truth, labels, classes } = synthetic(23, 1500, 3)
const nll = (probabilities: number[][]): number => calibrationMetrics(probabilities, labels, { metrics: ['NLL'] }).NLL
const own = calibrationMetrics(truth, labels, { classes, input: 'logits', metrics: ['NLL'] }).NLL

/** Logits that mix the true ones: z' = A t + c, so the true map is W = A⁻¹. */
const mixed = toRows(truth, classes).map(([a, b, c]) => [a + 0.5 * b, b - 0.3 * c + 1, 2 * c + 0.4 * a])

it('matrix scaling undoes a linear mixture of the logits', async () => {
  expect(nll((await fitMatrixScaling(mixed, labels)).apply(mixed))).toBeLessThanOrEqual(own + 1e-9)
})

it('matrix scaling fits the frequencies: mean p_k z_j = mean e_k z_j at the optimum', async () => {
  const probabilities = (await fitMatrixScaling(mixed, labels)).apply(mixed)
  for (let k = 0; k < classes; k++) {
    for (let j = 0; j < classes; j++) {
      const gap = mixed.reduce((sum, z, i) => sum + (probabilities[i][k] - (labels[i] === k ? 1 : 0)) * z[j], 0) / mixed.length
      expect(Math.abs(gap)).toBeLessThan(1e-6)
    }
  }
})

it('ODIR with a large λ leaves a diagonal and with a large μ no intercepts', async () => {
  for (const fit of [fitMatrixScaling, fitDirichlet]) {
    const { weights, intercept } = await fit(mixed, labels, { odir: { lambda: 1e6, mu: 1e6 } })
    weights.forEach((w, i) => i % (classes + 1) !== 0 && expect(Math.abs(w)).toBeLessThan(1e-4))
    intercept.forEach((b) => expect(Math.abs(b)).toBeLessThan(1e-4))
  }
})

it('Dirichlet calibration only needs probabilities: a shift of a row changes nothing', async () => {
  const shifted = mixed.map((row, i) => row.map((z) => z + (i % 7)))
  const a = await fitDirichlet(mixed, labels)
  const b = await fitDirichlet(shifted, labels)
  a.weights.forEach((w, i) => expect(b.weights[i]).toBeCloseTo(w, 5))
})

it('a large L2 keeps the identity; giving both penalties is an error', async () => {
  const { weights } = await fitDirichlet(mixed, labels, { l2: 1e7 })
  weights.forEach((w, i) => expect(w).toBeCloseTo(i % (classes + 1) === 0 ? 1 : 0, 4))
  await expect(fitDirichlet(mixed, labels, { l2: 1, odir: { lambda: 1, mu: 1 } })).rejects.toThrow(/not both/)
})
