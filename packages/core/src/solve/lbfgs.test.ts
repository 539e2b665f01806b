import { describe, expect, it } from 'vitest'
import { lbfgs, type ValueAndGradient } from './lbfgs'

/** Deterministic values in (−1, 1), far from any structure. */
const noise = (i: number): number => 2 * ((Math.sin(i * 12.9898 + 1) * 43758.5453) % 1)

const rosenbrock: ValueAndGradient = (x) => {
  let value = 0
  const gradient = new Float64Array(x.length)
  for (let i = 0; i + 1 < x.length; i++) {
    const a = x[i + 1] - x[i] * x[i]
    const b = 1 - x[i]
    value += 100 * a * a + b * b
    gradient[i] += -400 * x[i] * a - 2 * b
    gradient[i + 1] += 200 * a
  }
  return { value, gradient }
}

/** ½ Σ λᵢ xᵢ² with λ from 1 to the condition number. */
const quadratic =
  (n: number, condition: number): ValueAndGradient =>
  (x) => {
    const gradient = x.map((value, i) => condition ** (i / (n - 1)) * value)
    return { value: 0.5 * x.reduce((sum, value, i) => sum + value * gradient[i], 0), gradient }
  }

describe('lbfgs', () => {
  it('minimises Rosenbrock in 2 and in 50 dimensions', () => {
    for (const n of [2, 50]) {
      const start = Float64Array.from({ length: n }, (_, i) => (i % 2 === 0 ? -1.2 : 1))
      const result = lbfgs(rosenbrock, start, { gradientTolerance: 1e-9 })
      expect(result.converged).toBe(true)
      expect(result.reason).toBe('gradient')
      expect(result.gradientNorm).toBeLessThanOrEqual(1e-9)
      for (const value of result.x) expect(Math.abs(value - 1)).toBeLessThan(1e-8)
      expect(result.iterations).toBeLessThan(400)
    }
  })

  it('minimises a quadratic of condition 1e6', () => {
    const n = 100
    const result = lbfgs(
      quadratic(n, 1e6),
      Float64Array.from({ length: n }, (_, i) => noise(i)),
      // scipy's L-BFGS-B takes 11,111 iterations here with the same memory.
      { gradientTolerance: 1e-8, maxIterations: 13_000 },
    )
    expect(result.converged).toBe(true)
    for (const value of result.x) expect(Math.abs(value)).toBeLessThan(1e-7)
  })

  it('fits a logistic regression to where the gradient vanishes', () => {
    const n = 200
    const d = 5
    const features = Float64Array.from({ length: n * d }, (_, i) => noise(i))
    const labels = Float64Array.from({ length: n }, (_, i) => (features[i * d] + 0.5 * noise(i + 9999) > 0 ? 1 : 0))
    const loss: ValueAndGradient = (w) => {
      let value = 0
      const gradient = w.map((entry) => 0.1 * entry)
      for (const entry of w) value += 0.05 * entry * entry
      for (let i = 0; i < n; i++) {
        let z = 0
        for (let j = 0; j < d; j++) z += features[i * d + j] * w[j]
        value += Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z))) - labels[i] * z
        const error = 1 / (1 + Math.exp(-z)) - labels[i]
        for (let j = 0; j < d; j++) gradient[j] += error * features[i * d + j]
      }
      return { value, gradient }
    }
    const result = lbfgs(loss, new Float64Array(d), { gradientTolerance: 1e-9 })
    expect(result.converged).toBe(true)
    // Strong convexity 0.1 bounds the distance to the minimum by the gradient: a second start must arrive there too.
    const other = lbfgs(loss, new Float64Array(d).fill(3), { gradientTolerance: 1e-9 })
    result.x.forEach((value, i) => expect(Math.abs(value - other.x[i])).toBeLessThan((2 * Math.sqrt(d) * 1e-9) / 0.1))
  })

  it('walks around a region where the function is not finite', () => {
    // −log x + x has its minimum at 1 and is NaN below 0.
    const result = lbfgs((x) => ({ value: x[0] - Math.log(x[0]), gradient: [1 - 1 / x[0]] }), Float64Array.of(50))
    expect(result.converged).toBe(true)
    expect(result.x[0]).toBeCloseTo(1, 7)
  })

  it('stops by value, and at the limit of iterations, and at the precision of the numbers', () => {
    const start = Float64Array.of(-1.2, 1)
    expect(lbfgs(rosenbrock, start, { valueTolerance: 1e-3 }).reason).toBe('value')
    const limited = lbfgs(rosenbrock, start, { maxIterations: 3 })
    expect([limited.reason, limited.converged, limited.iterations]).toEqual(['max-iterations', false, 3])
    const exhausted = lbfgs((x) => ({ value: 1e6 + Math.cosh(x[0] - 0.3), gradient: [Math.sinh(x[0] - 0.3)] }), Float64Array.of(2), {
      gradientTolerance: 0,
    })
    expect(Math.abs(exhausted.x[0] - 0.3)).toBeLessThan(1e-4)
    expect(['precision', 'gradient']).toContain(exhausted.reason)
  })

  it('does not change the start and finds nothing to do at a minimum', () => {
    const start = Float64Array.of(1, 1)
    const result = lbfgs(rosenbrock, start)
    expect(result.iterations).toBe(0)
    expect([...start]).toEqual([1, 1])
    expect(result.x).not.toBe(start)
  })

  it('names a gradient that contradicts the value', () => {
    const wrongSign: ValueAndGradient = (x) => ({ value: x[0] ** 2 + x[1] ** 2, gradient: [-2 * x[0], -2 * x[1]] })
    expect(() => lbfgs(wrongSign, Float64Array.of(1, 2))).toThrow(/the gradient does not belong to the value/)
    expect(() => lbfgs((x) => ({ value: x[0], gradient: [1, 2] }), Float64Array.of(1))).toThrow('x has 1 values, the gradient 2')
  })

  it('refuses a start that is not finite, and bad options', () => {
    expect(() => lbfgs(rosenbrock, Float64Array.of(NaN, 1))).toThrow('x0 is NaN at index 0')
    expect(() => lbfgs(() => ({ value: Infinity, gradient: [0] }), Float64Array.of(1))).toThrow('the value at x0 is Infinity')
    expect(() => lbfgs(() => ({ value: 1, gradient: [NaN] }), Float64Array.of(1))).toThrow('the gradient at x0 is NaN at index 0')
    expect(() => lbfgs(rosenbrock, Float64Array.of(1, 2), { memory: 0 })).toThrow('memory must be a positive integer')
  })
})
