import { describe, expect, it } from 'vitest'
import { clenshawCurtis, gaussHermite, gaussLegendre, lgamma, type Quadrature } from './index'

function integrate({ nodes, weights }: Quadrature, f: (x: number) => number): number {
  return nodes.reduce((sum, x, i) => sum + weights[i] * f(x), 0)
}

function expectRule(rule: Quadrature): void {
  rule.nodes.forEach((x, i) => {
    expect(x).toBe(-rule.nodes[rule.nodes.length - 1 - i] + 0)
    if (i > 0) expect(x).toBeGreaterThan(rule.nodes[i - 1])
    expect(rule.weights[i]).toBeGreaterThan(0)
  })
}

describe('gaussLegendre', () => {
  it('has the published nodes and weights of 5 points', () => {
    const { nodes, weights } = gaussLegendre(5)
    expect(Math.abs(nodes[4] - Math.sqrt(5 + 2 * Math.sqrt(10 / 7)) / 3)).toBeLessThan(2e-16)
    expect(Math.abs(nodes[3] - Math.sqrt(5 - 2 * Math.sqrt(10 / 7)) / 3)).toBeLessThan(2e-16)
    expect(Math.abs(weights[2] - 128 / 225)).toBeLessThan(2e-16)
    expect(Math.abs(weights[4] - (322 - 13 * Math.sqrt(70)) / 900)).toBeLessThan(2e-16)
  })

  it.each([1, 2, 3, 8, 21, 64, 301])('integrates monomials up to degree 2n - 1 with %i nodes', (n) => {
    const rule = gaussLegendre(n)
    expectRule(rule)
    for (const k of [0, 2, 2 * n - 2].filter((degree) => degree <= 2 * n - 2)) {
      expect(Math.abs(integrate(rule, (x) => x ** k) - 2 / (k + 1))).toBeLessThan(2e-14)
      expect(Math.abs(integrate(rule, (x) => x ** (k + 1)))).toBeLessThan(1e-14)
    }
  })
})

describe('gaussHermite', () => {
  it.each([1, 2, 3, 5, 10, 20, 41, 64, 128, 300])('gives the moments of the Gaussian with %i nodes', (n) => {
    const rule = gaussHermite(n)
    expectRule(rule)
    for (let k = 0; k <= 2 * n - 2 && k <= 60; k += 2) {
      // ∫ x^k exp(-x²) dx = Γ((k + 1) / 2)
      const moment = integrate(rule, (x) => Math.abs(x) ** k)
      expect(Math.abs(Math.log(moment) - lgamma((k + 1) / 2))).toBeLessThan(2e-13)
    }
    if (n >= 20) expect(Math.abs(integrate(rule, Math.cos) - Math.sqrt(Math.PI) * Math.exp(-0.25))).toBeLessThan(1e-14)
  })

  it('has the published outermost node and weight of 20 points (Abramowitz, Stegun, table 25.10)', () => {
    const { nodes, weights } = gaussHermite(20)
    expect(nodes[19]).toBeCloseTo(5.3874808900112, 13)
    expect(weights[19] / 2.22939364553e-13).toBeCloseTo(1, 11)
  })
})

describe('clenshawCurtis', () => {
  it.each([1, 2, 3, 4, 7, 16, 65])('integrates monomials up to degree n over %i intervals', (n) => {
    const rule = clenshawCurtis(n)
    expectRule(rule)
    for (let k = 0; k <= n; k++) expect(Math.abs(integrate(rule, (x) => x ** k) - (k % 2 ? 0 : 2 / (k + 1)))).toBeLessThan(1e-14)
  })

  it('converges geometrically for smooth functions', () => {
    expect(Math.abs(integrate(clenshawCurtis(24), Math.exp) - 2 * Math.sinh(1))).toBeLessThan(2e-15)
  })
})

it('rejects orders out of range', () => {
  expect(() => gaussHermite(0)).toThrow('gaussHermite: expected an integer number of nodes from 1 to 300, got 0')
  expect(() => gaussLegendre(2.5)).toThrow('gaussLegendre')
  expect(() => clenshawCurtis(0)).toThrow('clenshawCurtis')
})
