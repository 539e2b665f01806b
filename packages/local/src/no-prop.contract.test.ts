import { random, useBackend } from '@bpf/core'
import { batch, fromArrays, shuffle } from '@bpf/core/data'
import { chain, clipByGlobalNorm, sgd } from '@bpf/core/optim'
import { learnerContract } from '@bpf/core/testing'
import { beforeAll, describe, it } from 'vitest'
import { noProp, noPropAdjoint, noPropBackpropagation, noPropDenseBlock, type NoPropOptions } from './no-prop'

beforeAll(() => useBackend('onnx'))

const block = noPropDenseBlock({ x: [8], z: [8], time: 8, trunk: [8] })
const rows = 128
const X = { data: random.normalArray(random.key(3), 2 * rows), shape: [rows, 2] }
const y = Int32Array.from({ length: rows }, (_, i) => i % 3)

const variants: Record<string, NoPropOptions> = {
  'DT, one-hot': { classes: 3, steps: 4, block },
  'DT, prototypes, radial readout, banks of 2 and 1': {
    classes: 3,
    steps: 3,
    block,
    embedding: 'prototype',
    readout: 'radial',
    blocksAtOnce: 2,
    inference: 'noisy',
  },
  // The expected gradient of the schedule's shape is 0 where the error does not depend on t: a small difference of large terms,
  // whose rounding Adam's moments would show as relative errors of their own.
  'CT, one-hot': { variant: 'ct', classes: 3, steps: 3, block, optimizer: chain(clipByGlobalNorm(1), sgd({ learningRate: 0.01 })) },
  'FM, learned embedding': { variant: 'fm', classes: 3, steps: 3, block, embedding: 'learned', embeddingSize: 4, pathNoise: 0.1 },
}

const dataset = () => batch(shuffle(fromArrays({ x: X, y })), 32)
for (const [name, options] of Object.entries(variants)) {
  describe(`${name} keeps the contract`, () => {
    for (const check of learnerContract({ learner: () => noProp(options), dataset, steps: 7 })) it(check.name, check.run)
  })
}
describe('backpropagation through the chain keeps the contract', () => {
  const learner = () => noPropBackpropagation({ classes: 3, steps: 3, block, embedding: 'learned' })
  for (const check of learnerContract({ learner, dataset, steps: 7 })) it(check.name, check.run)
})
describe('the adjoint baseline of CT keeps the contract', () => {
  const learner = () => noPropAdjoint({ classes: 3, steps: 4, block, embedding: 'learned', embeddingSize: 4, schedule: 'linear' })
  for (const check of learnerContract({ learner, dataset, steps: 7 })) it(check.name, check.run)
})
