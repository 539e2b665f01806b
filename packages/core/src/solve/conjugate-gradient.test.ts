import { describe, expect, it } from 'vitest'
import { diag, gram, matvec, zeros } from '../linalg/index'
import { conjugateGradient } from './conjugate-gradient'

describe('conjugateGradient', () => {
  it('solves an n × n system in about n steps, given as a matrix or a function', () => {
    const root = zeros(20, 20)
    for (let i = 0; i < 400; i++) root.data[i] = Math.sin(i * i)
    const a = gram(root)
    for (let i = 0; i < 20; i++) a.data[i * 21] += 1
    const expected = Float64Array.from({ length: 20 }, (_, i) => i - 10)
    const b = matvec(a, expected)
    for (const operator of [a, (x: Float64Array) => matvec(a, x)]) {
      const { x, converged, iterations } = conjugateGradient(operator, b, { tolerance: 1e-12 })
      expect(converged).toBe(true)
      expect(iterations).toBeLessThanOrEqual(40)
      x.forEach((value, i) => expect(Math.abs(value - expected[i])).toBeLessThan(1e-9))
    }
  })

  it('needs one step with the inverse as preconditioner', () => {
    const values = Float64Array.from({ length: 50 }, (_, i) => 10 ** (i / 8))
    const b = new Float64Array(50).fill(1)
    const result = conjugateGradient(diag(values), b, { preconditioner: (r) => r.map((value, i) => value / values[i]) })
    expect(result.iterations).toBe(1)
    expect(conjugateGradient(diag(values), b, { x0: values.map((value) => 1 / value) }).iterations).toBe(0)
  })

  it('reports what it can not do', () => {
    expect(() => conjugateGradient(diag([1, -1]), Float64Array.of(0, 1))).toThrow('not positive definite')
    expect(() => conjugateGradient(diag([1, 1]), Float64Array.of(NaN, 1))).toThrow('not finite')
    expect(() => conjugateGradient(() => new Float64Array(3), Float64Array.of(1, 1))).toThrow('b has 2 values, A x has 3')
    expect(conjugateGradient(diag([1, 2, 3]), Float64Array.of(1, 1, 1), { maxIterations: 1 }).converged).toBe(false)
    expect([...conjugateGradient(diag([1, 2]), new Float64Array(2)).x]).toEqual([0, 0])
  })
})
