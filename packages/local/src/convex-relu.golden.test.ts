import type { Matrix } from '@bpf/core/linalg'
import { goldenArray, goldenCases, isGoldenArray, mismatch, type GoldenCase } from '@bpf/core/testing'
import { describe, expect, it } from 'vitest'
import { convexReluAdmm, recoverReluNetwork, reluNetworkObjective, robustLosses, sampledConvexProgram } from './convex-relu'

type Inputs = GoldenCase['inputs']
type Outputs = Record<string, number | ArrayLike<number> | undefined>

const folder = new URL('../test/golden/', import.meta.url)
const vector = (inputs: Inputs, name: string): Float64Array => Float64Array.from(goldenArray(inputs, name).data)
function matrixOf(inputs: Inputs, name: string): Matrix {
  const [rows, cols] = goldenArray(inputs, name).shape
  return { rows, cols, data: vector(inputs, name) }
}

/** The pStar of the vectors took up to 8,000 iterations. */
const iterations = 8000
const recorded = [1, 2, 5]

function admm(inputs: Inputs): Outputs {
  const { beta, rho, gamma } = inputs as { beta: number; rho: number; gamma: number }
  const [x, y] = [matrixOf(inputs, 'X'), vector(inputs, 'y')]
  const solver = convexReluAdmm(x, y, matrixOf(inputs, 'D'), { beta, rho, gamma })
  const computed: Outputs = {}
  let state = solver.init()
  for (let k = 1; k <= iterations; k++) {
    state = solver.step(state)
    if (recorded.includes(k)) for (const [name, values] of Object.entries(state)) computed[`${name}_${k}`] = values as Float64Array
  }
  const networkObjective = reluNetworkObjective(solver.network(state), x, y, { beta })
  return {
    ...computed,
    pStar: solver.objective(state),
    networkObjective,
    prediction: solver.fitted(state),
    lowerBound: solver.lowerBound(state),
  }
}

function sampled(inputs: Inputs): Outputs {
  const U = matrixOf(inputs, 'U')
  const program = sampledConvexProgram(matrixOf(inputs, 'X'), vector(inputs, 'y'), U, { beta: inputs.beta as number })
  let state = program.init()
  for (let k = 0; k < 100_000 && state.change > 1e-13; k++) state = program.step(state)
  return {
    objective: program.objective(state.alpha),
    fitted: program.fitted(state.alpha),
    L: program.L,
    istaStep1: program.istaStep?.(new Float64Array(U.rows)),
  }
}

const functions: Record<string, (inputs: Inputs) => Outputs> = {
  admm,
  sampledConvexProgram: sampled,
  robustLosses: (inputs) => ({
    ...robustLosses(
      matrixOf(inputs, 'X'),
      vector(inputs, 'y'),
      vector(inputs, 'targets'),
      matrixOf(inputs, 'D'),
      matrixOf(inputs, 'V'),
      matrixOf(inputs, 'W'),
      { epsilon: inputs.eps as number },
    ),
  }),
  recoverNetwork(inputs) {
    const { U, alpha } = recoverReluNetwork(matrixOf(inputs, 'V'), matrixOf(inputs, 'W'))
    return { U: U.data, alpha }
  },
}

describe('40-convex-relu golden vectors', () => {
  for (const { fn, name, inputs, outputs, tolerance } of goldenCases(folder, '40-convex-relu')) {
    it(`${name}: ${fn} agrees in double precision within the file's tolerance`, () => {
      const computed = functions[fn](inputs)
      for (const [key, expected] of Object.entries(outputs)) {
        const actual = computed[key]
        if (actual === undefined) throw new Error(`${key} is not computed`)
        const values = isGoldenArray(expected) ? expected.data : [expected as number]
        expect(mismatch(typeof actual === 'number' ? [actual] : actual, values, tolerance), key).toBeUndefined()
      }
    })
  }

  it('with all patterns the recovered network has the objective pStar, and the dual bound meets it, to 1e-9', () => {
    const exact = goldenCases(folder, '40-convex-relu').filter(({ name }) => name.startsWith('admm-exact'))
    expect(exact).toHaveLength(2)
    for (const { inputs, outputs } of exact) {
      const { networkObjective, lowerBound } = admm(inputs)
      expect(Math.abs((networkObjective as number) - (outputs.pStar as number))).toBeLessThan(1e-9)
      expect(Math.abs((lowerBound as number) - (outputs.pStar as number))).toBeLessThan(1e-9)
    }
  })
})
