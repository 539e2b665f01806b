import { random } from '@bpf/core'
import { compiledConvexReluAdmm, convexReluAdmm, sampleActivationPatterns } from '@bpf/local'
import * as tf from '@tensorflow/tfjs-core'
import type { InputArray, Workload } from './workload'

const settings = { rows: 455, features: 31, patterns: 20, beta: 0.01, rho: 0.1 }

function inputs(): Record<string, InputArray> {
  const { rows, features, patterns } = settings
  const [xKey, yKey, patternKey] = random.split(random.key(0), 3)
  const x = random.normalArray(xKey, rows * features, { stddev: 1 / Math.sqrt(features) })
  const D = sampleActivationPatterns({ rows, cols: features, data: Float64Array.from(x) }, { count: patterns, key: patternKey })
  return {
    x: { data: x, shape: [rows, features] },
    y: { data: random.rademacherArray(yKey, rows), shape: [rows] },
    D: { data: Float32Array.from(D.data), shape: [patterns, rows] },
  }
}

/** One iteration of paper 40's ADMM in double precision (a fold of breast cancer, 20 patterns), its residuals and the program's value. */
export const convexReluAdmmStep: Workload = {
  name: 'convex-relu-admm',
  description: `ADMM iteration of a convex ReLU program in float64: ${settings.rows} rows, ${settings.features} columns, ${settings.patterns} patterns`,
  peers: ['numpy'],
  settings,
  repeat: 20,
  inputs,
  prepare(arrays) {
    const { rows, features, patterns, beta, rho } = settings
    const doubles = (name: string): Float64Array => Float64Array.from(arrays[name].data)
    const x = { rows, cols: features, data: doubles('x') }
    const [y, D] = [doubles('y'), { rows: patterns, cols: rows, data: doubles('D') }]
    const compiled = compiledConvexReluAdmm(x, y, D, { beta, rho })
    if (compiled !== undefined) {
      let state = compiled.init()
      return Promise.resolve({
        step() {
          const next = compiled.step(state)
          state = next.state
          return Promise.resolve(next.progress.objective)
        },
        dispose() {
          tf.dispose(state)
          compiled.dispose()
        },
      })
    }
    const solver = convexReluAdmm(x, y, D, { beta, rho })
    let state = solver.init()
    return Promise.resolve({
      step() {
        state = solver.step(state)
        return Promise.resolve(solver.objective(state))
      },
      dispose: () => undefined,
    })
  },
}
