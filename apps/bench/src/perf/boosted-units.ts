import { random } from '@bpf/core'
import { networkObjective } from '@bpf/local'
import type { InputArray, Workload } from './workload'

const settings = { rows: 1078, features: 64, units: 2, outputs: 10, alpha: 1e-4, learningRate: 0.1 }

function inputs(): Record<string, InputArray> {
  const { rows, features, units, outputs } = settings
  const keys = random.split(random.key(0), 3)
  const draw = (i: number, shape: number[], stddev: number): InputArray => ({
    data: random.normalArray(
      keys[i],
      shape.reduce((product, n) => product * n, 1),
      { stddev },
    ),
    shape,
  })
  return {
    x: draw(0, [rows, features], 1),
    target: draw(1, [rows, outputs], 0.3),
    weights: draw(2, [features * units + units + units * outputs + outputs], 0.2),
  }
}

/** One evaluation of paper 13's inner objective in double precision (a step network on three quarters of digits), and a step down. */
export const boostedUnits: Workload = {
  name: 'boosted-units',
  description: `network ${settings.features}-${settings.units}-${settings.outputs} in float64, ${settings.rows} rows: squared error, gradient, descent`,
  peers: ['torch', 'numpy'],
  settings,
  repeat: 20,
  inputs,
  prepare(arrays) {
    const data = { x: Float64Array.from(arrays.x.data), target: Float64Array.from(arrays.target.data) }
    const { features, units, outputs, alpha } = settings
    const objective = networkObjective(data, { features, units, outputs, alpha, activation: 'logistic', loss: 'squared' })
    const over = objective(Int32Array.from({ length: settings.rows }, (_, i) => i))
    const weights = Float64Array.from(arrays.weights.data)
    return Promise.resolve({
      step() {
        const { value, gradient } = over.evaluate(weights)
        for (let i = 0; i < weights.length; i++) weights[i] -= settings.learningRate * gradient[i]
        return Promise.resolve(value)
      },
      dispose: () => over.dispose(),
    })
  },
}
