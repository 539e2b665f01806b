import { fit, tree, useBackend } from '@bpf/core'
import { key } from '@bpf/core/random'
import { learnerContract } from '@bpf/core/testing'
import { beforeAll, describe, expect, it } from 'vitest'
import {
  classFeatures,
  createGraph,
  gat,
  gcn,
  gin,
  nodeClassifier,
  sage,
  splitNodes,
  stochasticBlockModel,
  wholeGraph,
  type GraphLayer,
} from './index'

beforeAll(() => useBackend('onnx'))

const blocks = stochasticBlockModel(key(0), { nodes: 200, classes: 3, within: 0.08, between: 0.01 })
const features = classFeatures(key(1), blocks.labels as Int32Array, { columns: 12, classes: 3, spread: 0.5 })
const graph = splitNodes(key(2), createGraph({ ...blocks, features }), { train: 0.15, validation: 0.2 })

describe('nodeClassifier keeps the contract', () => {
  const options = { learner: () => nodeClassifier({ graph }), dataset: () => wholeGraph(4) }
  // A batch is only a number here: there is no other shape, and no NaN to feed.
  const checks = learnerContract(options).filter(({ name }) => !/NaN in a batch|another shape/.test(name))
  for (const check of checks) it(check.name, check.run)
})

describe('nodeClassifier', () => {
  const stacks: [string, (width: number) => GraphLayer][] = [
    ['gcn', (width) => gcn(width)],
    ['sage', (width) => sage(width)],
    ['gat', (width) => gat(width, { heads: width % 4 === 0 ? 4 : 1 })],
    ['gin', (width) => gin(width)],
  ]
  it.each(stacks)('learns the blocks with %s', async (_, layer) => {
    const { state, history } = await fit(nodeClassifier({ graph, layers: [layer(16), layer(3)] }), wholeGraph(50), {
      epochs: 2,
      validation: wholeGraph(),
    })
    tree.dispose(state.tensors)
    expect(history[1].metrics['val/testAccuracy']).toBeGreaterThan(0.8)
  })

  it('says what the graph lacks', () => {
    const { features: _, ...bare } = graph
    expect(() => nodeClassifier({ graph: bare })).toThrow('the graph has no features')
    const labels = (graph.labels as Int32Array).map((label, i) => (graph.masks?.train[i] === 1 && label === 2 ? 1 : label))
    expect(() => nodeClassifier({ graph: { ...graph, labels } })).toThrow('class 2 has no training node')
    expect(() => nodeClassifier({ graph, layers: [gcn(7)] }).init(key(0), {} as never, undefined)).toThrow('the last layer is 7 wide')
  })
})
