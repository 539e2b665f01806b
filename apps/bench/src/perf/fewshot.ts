import { random } from '@bpf/core'
import { boundOptimise } from '@bpf/fewshot'
import { uniform } from './training'
import type { Workload } from './workload'

const [points, classes, neighbours] = [10_000, 20, 4]

/** Updates of all assignments at once; compared is the energy after the last. */
export const boundUpdates: Workload = {
  name: 'bound-updates',
  description: `bound optimiser, 10 updates of ${points} points in ${classes} classes with ${neighbours} neighbours each`,
  peers: ['torch'],
  settings: { lambda: 0.7, updates: 10 },
  repeat: 3,
  inputs() {
    const columns = random.randintArray(random.key(0), points * neighbours, { low: 0, high: points })
    return {
      columns: { data: Int32Array.from(columns), shape: [points, neighbours] },
      costs: uniform(random.key(1), [points, classes], 1),
    }
  },
  prepare({ columns, costs }) {
    const affinity = {
      size: points,
      starts: Int32Array.from({ length: points + 1 }, (_, i) => i * neighbours),
      columns: columns.data as Int32Array,
      weights: new Float64Array(points * neighbours).fill(1),
    }
    const options = { costs: new Float64Array(costs.data), affinity, lambda: 0.7, iterations: 10, tolerance: -1 }
    return Promise.resolve({
      step: () => Promise.resolve(boundOptimise(options).energies[9]),
      dispose: () => undefined,
    })
  },
}
