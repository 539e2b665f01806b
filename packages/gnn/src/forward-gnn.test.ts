import { account, fit, fitStages, tree, useBackend, type Learner, type Tree } from '@bpf/core'
import { adam, addDecayedWeights, chain, sgd } from '@bpf/core/optim'
import { key, normalArray, permutationArray } from '@bpf/core/random'
import { learnerContract, stagedContract } from '@bpf/core/testing'
import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import {
  classFeatures,
  createGraph,
  forwardForwardNodes,
  gat,
  gcn,
  goodnessLoss,
  linkPredictor,
  localLinks,
  nodeClassifier,
  normaliseRows,
  pepita,
  sage,
  singleForward,
  sparseMatMul,
  sparseTensors,
  splitEdges,
  splitNodes,
  stochasticBlockModel,
  topDownLinks,
  topDownToInput,
  topDownToLoss,
  virtualNodeLoss,
  wholeGraph,
  withVirtualNodes,
  type Graph,
  type GraphStep,
  type LayerwiseState,
} from './index'

beforeAll(() => useBackend('onnx'))

function blocksOf(nodes: number, seed = 0): Graph {
  const blocks = stochasticBlockModel(key(seed), { nodes, classes: 3, within: 16 / nodes, between: 2 / nodes })
  const features = classFeatures(key(seed + 1), blocks.labels as Int32Array, { columns: 12, classes: 3, spread: 0.5 })
  return splitNodes(key(seed + 2), createGraph({ ...blocks, features }), { train: 0.15, validation: 0.2 })
}
const graph = blocksOf(120)
const classes = 3
const widths = [16, 16]
const links = splitEdges(key(5), graph, { train: 0.64, validation: 0.16 })
const linkGraph: Graph = { ...links.graph, features: graph.features }
const fast = sgd({ learningRate: 0.1 })
const embedded = chain(addDecayedWeights(5e-4), adam({ learningRate: 0.01 }))
const index = (): GraphStep => ({ index: tf.tensor1d([0], 'int32') })
const bits = (value: Tree): number[][] => tree.leaves(value).map((leaf) => Array.from(leaf.dataSync()))

const staged = {
  singleForward: (given: Graph = graph) => singleForward({ graph: given, widths, epochs: 4 }),
  'forwardForwardNodes, virtual nodes': (given: Graph = graph) => forwardForwardNodes({ graph: given, widths, epochs: 4 }),
  'forwardForwardNodes, features': (given: Graph = graph) => forwardForwardNodes({ graph: given, widths, epochs: 4, labels: 'features' }),
}
const sideBySideMethods = {
  topDownToInput: (given: Graph = graph) => topDownToInput({ graph: given, widths, inferenceSteps: 3 }),
  topDownToLoss: (given: Graph = graph) => topDownToLoss({ graph: given, widths }),
}

describe('contracts', () => {
  const methods = { ...staged, localLinks: () => localLinks({ graph: linkGraph, pairs: links, widths, epochs: 4 }) }
  for (const [name, method] of Object.entries(methods)) {
    for (const check of stagedContract({ staged: () => method(), dataset: () => wholeGraph(2) })) it(`${name}: ${check.name}`, check.run)
  }
  const learners: Record<string, () => Learner<Tree, GraphStep>> = {
    topDownToInput: () => sideBySideMethods.topDownToInput() as unknown as Learner<Tree, GraphStep>,
    topDownToLoss: () => sideBySideMethods.topDownToLoss() as unknown as Learner<Tree, GraphStep>,
    topDownLinks: () => topDownLinks({ graph: linkGraph, pairs: links, widths, inferenceSteps: 3 }) as unknown as Learner<Tree, GraphStep>,
    pepita: () => pepita({ graph, widths }) as unknown as Learner<Tree, GraphStep>,
    linkPredictor: () => linkPredictor({ graph: linkGraph, pairs: links, widths }) as unknown as Learner<Tree, GraphStep>,
  }
  for (const [name, learner] of Object.entries(learners)) {
    // A batch is only a number here: there is no other shape, and no NaN to feed.
    const checks = learnerContract({ learner, dataset: () => wholeGraph(4) }).filter(
      (check) => !/NaN in a batch|another shape/.test(check.name),
    )
    for (const check of checks) it(`${name}: ${check.name}`, check.run)
  }
})

/** A state before training, and the learner of its stage. */
async function stageOf(method: ReturnType<typeof singleForward>, k: number) {
  const sample = index()
  const state = method.init(key(3), sample)
  tree.dispose(sample)
  const { learner } = await method.stage(k, state, { dataset: wholeGraph(), key: key(0) })
  const inner = learner.init(key(0), index(), undefined)
  return { state, learner, inner }
}

const testAccuracy = (scores: tf.Tensor, { labels, masks }: Graph): number => {
  const predicted = tf.argMax(scores, 1).dataSync()
  const test = Array.from(masks?.test ?? [], (value, i) => (value === 1 ? i : -1)).filter((i) => i >= 0)
  return test.filter((i) => predicted[i] === labels?.[i]).length / test.length
}

const twiceChance = 2 / classes

describe('the methods learn', () => {
  const options = { graph, widths, optimizer: embedded }
  it.each([
    ['gcn', gcn],
    ['sage', sage],
    ['gat', gat],
  ] as const)('singleForward with %s, as do the variants with top-down signals', async (_, layer) => {
    const method = singleForward({ ...options, layer: (width) => layer(width), epochs: 150 })
    const { state } = await fitStages(method, wholeGraph(2))
    expect(testAccuracy(method.predict(state.tensors), graph)).toBeGreaterThan(twiceChance)
    tree.dispose(state.tensors)
    for (const learner of [
      topDownToInput({ ...options, layer: (width) => layer(width), inferenceSteps: 4 }),
      topDownToLoss({ ...options, layer: (width) => layer(width) }),
    ]) {
      const fitted = await fit(learner, wholeGraph(), { epochs: 150 })
      expect(testAccuracy(learner.predict(fitted.state.tensors, []), graph)).toBeGreaterThan(twiceChance)
      tree.dispose(fitted.state.tensors)
    }
  })

  it.each(['virtual-nodes', 'features'] as const)('forwardForwardNodes with labels as %s', async (labels) => {
    const method = forwardForwardNodes({ ...options, labels, epochs: 200 })
    const { state } = await fitStages(method, wholeGraph(10))
    expect(testAccuracy(method.predict(state.tensors), graph)).toBeGreaterThan(0.55)
    tree.dispose(state.tensors)
  })

  it.each(['none', 'input', 'all'] as const)('singleForward with labels appended: %s', async (appendLabels) => {
    const method = singleForward({ ...options, appendLabels, epochs: 60 })
    const { state } = await fitStages(method, wholeGraph(2))
    expect(testAccuracy(method.predict(state.tensors), graph)).toBeGreaterThan(0.6)
    tree.dispose(state.tensors)
  })

  it.each([
    ['gcn', gcn],
    ['sage', sage],
  ] as const)('pepita with %s', async (_, layer) => {
    const learner = pepita({ ...options, layer: (width) => layer(width) })
    const { state } = await fit(learner, wholeGraph(), { epochs: 150 })
    expect(testAccuracy(learner.predict(state.tensors, []), graph)).toBeGreaterThan(twiceChance)
    tree.dispose(state.tensors)
  })

  it('edges come before non-edges: localLinks of both kinds, topDownLinks, linkPredictor', async () => {
    const shared = { graph: linkGraph, pairs: links, widths, optimizer: embedded }
    const area = (scores: tf.Tensor): number => {
      const values = scores.dataSync()
      const { label } = links.test
      const [yes, no] = [1, 0].map((kind) => Array.from(values).filter((_, e) => label[e] === kind))
      return yes.reduce((sum, a) => sum + no.filter((b) => a > b).length, 0) / (yes.length * no.length)
    }
    for (const objective of ['single-forward', 'forward-forward'] as const) {
      const method = localLinks({ ...shared, objective, epochs: 100 })
      const { state } = await fitStages(method, wholeGraph(10))
      expect(area(method.scores(state.tensors, links.test)), objective).toBeGreaterThan(0.6)
      tree.dispose(state.tensors)
    }
    const below = topDownLinks(shared)
    const first = await fit(below, wholeGraph(), { epochs: 100 })
    expect(area(below.scores(first.state.tensors, links.test))).toBeGreaterThan(0.6)
    const twin = linkPredictor(shared)
    const second = await fit(twin, wholeGraph(), { epochs: 100 })
    expect(area(twin.scores(second.state.tensors, links.test))).toBeGreaterThan(0.6)
    tree.dispose(first.state.tensors, second.state.tensors)
  })
})

describe('oracles', () => {
  it('1: training one layer leaves all others as they are, bit for bit', async () => {
    const method = singleForward({ graph, widths: [16, 16, 16], epochs: 4 })
    const { state } = await stageOf(method, 1)
    const before = bits(state.tensors.layers as Tree)
    const stage = await method.stage(1, state, { dataset: wholeGraph(), key: key(0) })
    const fitted = await fit(stage.learner, wholeGraph(), { epochs: 3 })
    const { tensors } = stage.finish(fitted.state)
    const after = bits((tensors as LayerwiseState).layers as Tree)
    const changed = before.map((values, i) => values.some((value, j) => value !== after[i][j]))
    expect(changed).toEqual([false, false, true, true, false, false])
  })

  it('1: a step of single forward needs the same memory for 2 layers and for 8; backpropagation needs more with each', async () => {
    const peak = async (depth: number): Promise<number> => {
      const method = singleForward({ graph, widths: Array.from({ length: depth }, () => 16), layer: (width) => gat(width), epochs: 4 })
      const peaks: number[] = []
      for (let k = 1; k < depth; k++) {
        const { learner, inner } = await stageOf(method, k)
        peaks.push(account((tensors: Tree) => learner.step(tensors, index(), key(0)), inner.tensors).peakBytes)
      }
      return Math.max(...peaks)
    }
    expect(await peak(8)).toBe(await peak(2))
    const backpropagation = (depth: number): number => {
      const layers = Array.from({ length: depth }, (_, l) => gcn(l + 1 < depth ? 16 : classes))
      const learner = nodeClassifier({ graph, layers, dropout: 0 })
      const { tensors } = learner.init(key(0), index(), undefined)
      return account((state: typeof tensors) => learner.step(state, index(), key(0)), tensors).peakBytes
    }
    expect(backpropagation(8) - backpropagation(4)).toBeGreaterThan(0.8 * 4 * graph.nodes * 16 * 4)
  })

  it('2: a positive factor on the input of a layer changes nothing', async () => {
    const values = normalArray(key(9), 40)
    const apart = tf.sub(normaliseRows(tf.tensor2d(values, [10, 4])), normaliseRows(tf.mul(tf.tensor2d(values, [10, 4]), 37)))
    expect(Math.max(...(await tf.abs(apart).data()))).toBeLessThan(1e-6)
    expect(await normaliseRows(tf.zeros([1, 3])).data()).toEqual(new Float32Array(3))
  })

  it('3: the loss is ln 2 with two equal virtual nodes, ln C where all outputs are 0', async () => {
    const z = tf.tensor2d(normalArray(key(1), 20), [5, 4])
    const equal = tf.tile(tf.tensor2d(normalArray(key(2), 4), [1, 4]), [2, 1])
    expect((await virtualNodeLoss(z, equal, Int32Array.of(0, 1, 0, 1, 1), 1).data())[0]).toBeCloseTo(Math.log(2), 6)
    expect((await virtualNodeLoss(tf.zeros([2, 4]), tf.zeros([5, 4]), Int32Array.of(0, 4), 1).data())[0]).toBeCloseTo(Math.log(5), 6)
  })

  it('4: the forward-forward loss is 2 ln 2 where both goodnesses are θ', async () => {
    expect((await goodnessLoss(tf.tensor1d([2, 2]), tf.tensor1d([2]), 2).loss.data())[0]).toBeCloseTo(2 * Math.log(2), 6)
  })

  /** The same state on a graph whose nodes are numbered otherwise. */
  it('5: numbering the nodes otherwise permutes the predictions', async () => {
    const order = permutationArray(key(4), graph.nodes)
    const place = new Int32Array(graph.nodes)
    order.forEach((old, now) => (place[old] = now))
    const { masks, labels, features } = graph
    const moved = (mask: Uint8Array): Uint8Array => Uint8Array.from(order, (old) => mask[old])
    const values = features?.values as Float32Array
    const permuted = createGraph({
      nodes: graph.nodes,
      src: graph.src.map((i) => place[i]),
      dst: graph.dst.map((i) => place[i]),
      classes,
      labels: Int32Array.from(order, (old) => labels?.[old] ?? 0),
      features: {
        data: Float32Array.from({ length: values.length }, (_, j) => values[order[Math.floor(j / 12)] * 12 + (j % 12)]),
        shape: [graph.nodes, 12],
      },
      masks: {
        train: moved(masks?.train as Uint8Array),
        validation: moved(masks?.validation as Uint8Array),
        test: moved(masks?.test as Uint8Array),
      },
    })
    const { state } = await stageOf(staged.singleForward(), 0)
    const there = tf.gather(staged.singleForward().predict(state.tensors), tf.tensor1d(order, 'int32'))
    const gap = tf.max(tf.abs(tf.sub(there, staged.singleForward(permuted).predict(state.tensors))))
    expect((await gap.data())[0]).toBeLessThan(1e-5)
  })

  it('6: a step of single forward reads one graph, of forward-forward K + 1; inference of forward-forward C', async () => {
    const cost = async (method: ReturnType<typeof singleForward>): Promise<number> => {
      const { learner, inner } = await stageOf(method, 1)
      return account((tensors: Tree) => learner.step(tensors, index(), key(0)), inner.tensors).multiplyAdds
    }
    const train = graph.masks?.train.reduce((sum, value) => sum + value, 0) ?? 0
    // Forward and the weights' gradient: two products of [rows, 16] with [16, 16] each.
    const product = (rows: number): number => 2 * rows * 16 * 16
    const against = 3 * train * classes * 16
    expect(await cost(staged.singleForward())).toBe(product(train + classes) + against)
    expect(await cost(staged['forwardForwardNodes, features']())).toBe(product(3 * train))
    expect(await cost(staged['forwardForwardNodes, virtual nodes']())).toBe(product(3 * train))
    const inference = async (method: ReturnType<typeof singleForward>): Promise<number> => {
      const { state } = await stageOf(method, 0)
      return account((tensors: LayerwiseState) => method.predict(tensors), state.tensors).multiplyAdds
    }
    const layer = (graph.nodes + classes) * 16 * (12 + 16)
    expect(await inference(staged['forwardForwardNodes, virtual nodes']())).toBe(classes * layer)
    expect(await inference(staged.singleForward())).toBe(layer + 2 * graph.nodes * classes * 16)
  })

  it('8: labels of nodes that do not train change neither weights nor predictions', async () => {
    const labels = (graph.labels as Int32Array).map((label, i) => (graph.masks?.train[i] === 1 ? label : (label + 1) % classes))
    const { masks } = graph
    // Validation chooses the best weights by labels: there is none here.
    const none = { ...(masks as NonNullable<typeof masks>), validation: new Uint8Array(graph.nodes) }
    for (const method of [staged.singleForward, staged['forwardForwardNodes, virtual nodes'], staged['forwardForwardNodes, features']]) {
      const [own, shuffled] = [method({ ...graph, masks: none }), method({ ...graph, masks: none, labels })]
      const [a, b] = [await fitStages(own, wholeGraph(2)), await fitStages(shuffled, wholeGraph(2))]
      expect(bits(a.state.tensors)).toEqual(bits(b.state.tensors))
      expect(bits([own.predict(a.state.tensors)])).toEqual(bits([shuffled.predict(b.state.tensors)]))
    }
    for (const method of Object.values(sideBySideMethods)) {
      const [a, b] = [
        await fit(method(), wholeGraph(), { epochs: 3 }),
        await fit(method({ ...graph, labels }), wholeGraph(), { epochs: 3 }),
      ]
      expect(bits(a.state.tensors)).toEqual(bits(b.state.tensors))
    }
  })

  it('9: with one layer, top-down to the loss is single forward', async () => {
    const options = { graph, widths: [16], optimizer: fast }
    const { state, learner, inner } = await stageOf(singleForward({ ...options, epochs: 1 }), 0)
    const one = learner.step(inner.tensors, index(), key(0))
    const topDown = topDownToLoss({ ...options, clip: Infinity })
    const { layers, drawn } = state.tensors
    const other = topDown.step({ layers, drawn, optimizers: [fast.init(layers[0])], states: [tf.zeros([1])] }, index(), key(0))
    const [a, b] = [bits((one.tensors as { params: Tree }).params).flat(), bits(other.tensors.layers[0]).flat()]
    a.forEach((value, i) => expect(b[i]).toBeCloseTo(value, 5))
  })

  it('10: a small step lowers the loss', async () => {
    const { learner, inner } = await stageOf(singleForward({ graph, widths, optimizer: fast, epochs: 1 }), 0)
    const first = learner.step(inner.tensors, index(), key(0))
    const second = learner.step(first.tensors, index(), key(0))
    expect(second.metrics.loss.dataSync()[0]).toBeLessThan(first.metrics.loss.dataSync()[0])
  })

  it('PEPITA without a projection teaches the last layer as backpropagation does, and no other', () => {
    const shared = { graph, layer: gcn, optimizer: fast }
    const learner = pepita({ ...shared, widths, projection: 0 })
    const before = learner.init(key(1), index(), undefined).tensors
    const after = learner.step(before, index(), key(0)).tensors
    const twin = nodeClassifier({ graph, layers: [...widths, classes].map((width) => gcn(width)), dropout: 0, optimizer: fast })
    const taught = twin.step({ params: before.layers, optimizer: fast.init(before.layers) }, index(), key(0)).tensors
    const [untaught, mine, theirs] = [before.layers, after.layers, taught.params].map((layers) => layers.map((layer) => bits(layer).flat()))
    expect(mine.slice(0, -1)).toEqual(untaught.slice(0, -1))
    mine[2].forEach((value, i) => expect(value).toBeCloseTo(theirs[2][i], 6))
    expect(mine[2]).not.toEqual(untaught[2])
  })

  it('PEPITA moves a hidden weight by the difference of the passes times the second input', () => {
    const learner = pepita({ graph, layer: gcn, optimizer: sgd({ learningRate: 1 }), widths: [4], projection: 1 })
    tf.tidy(() => {
      const before = learner.init(key(1), index(), undefined).tensors
      const after = learner.step(before, index(), key(0)).tensors
      const [one, two] = before.layers as unknown as { w: tf.Tensor2D; b: tf.Tensor }[]
      const adjacency = sparseTensors(gcn(4).adjacency(graph))
      const spread = (h: tf.Tensor): tf.Tensor2D => sparseMatMul(adjacency, h) as tf.Tensor2D
      const hidden = (x: tf.Tensor): tf.Tensor => tf.relu(tf.add(tf.matMul(spread(x), one.w), one.b))
      const x = tf.tensor2d(graph.features?.values as Float32Array, [graph.nodes, 12])
      const truth = tf.oneHot(tf.tensor1d(graph.labels as Int32Array, 'int32'), classes)
      const logits = tf.add(tf.matMul(spread(hidden(x)), two.w), two.b)
      const isTrain = tf.tensor2d(Float32Array.from(graph.masks?.train ?? []), [graph.nodes, 1])
      const e = tf.mul(tf.sub(tf.softmax(logits), truth), isTrain)
      const changed = tf.add(x, tf.matMul(e as tf.Tensor2D, before.projection as tf.Tensor2D))
      const apart = tf.sub(hidden(x), hidden(changed)) as tf.Tensor2D
      const want = tf.div(tf.matMul(spread(changed), apart, true), tf.sum(isTrain))
      const got = tf.sub(one.w, (after.layers as unknown as { w: tf.Tensor }[])[0].w)
      expect(tf.max(tf.abs(tf.sub(got, want))).dataSync()[0]).toBeLessThan(1e-6)
    })
  })

  it('layers with inputs computed ahead give what they give otherwise', async () => {
    for (const make of [gcn, sage]) {
      const layer = make(8)
      const { ahead: _, ...plain } = layer
      const losses = await Promise.all(
        [layer, plain].map(async (one) => {
          const { learner, inner } = await stageOf(singleForward({ graph, widths: [8], layer: () => one, epochs: 1 }), 0)
          return learner.step(inner.tensors, index(), key(0)).metrics.loss.dataSync()[0]
        }),
      )
      expect(losses[1]).toBeCloseTo(losses[0], 6)
    }
  })

  it('virtual nodes in one direction get edges only', () => {
    const augmented = withVirtualNodes(graph, classes, [0, 1], [2, 0], 'to-virtual')
    expect(augmented.src.length).toBe(graph.src.length + 2)
    expect(Array.from(augmented.dst.slice(-2))).toEqual([graph.nodes, graph.nodes + 2])
    expect(() => withVirtualNodes(graph, classes, [0], [0], 'up' as never)).toThrow("direction must be 'both' or 'to-virtual'")
    expect(() => withVirtualNodes(graph, classes, [500], [0])).toThrow('linked[0] is 500')
    expect(() => withVirtualNodes(graph, classes, [0], [7])).toThrow('node 0 has class 7')
  })
})

describe('bad input', () => {
  it('7: a class without a training node is named', () => {
    const labels = (graph.labels as Int32Array).map((label, i) => (graph.masks?.train[i] === 1 && label === 2 ? 1 : label))
    for (const method of [...Object.values(staged), ...Object.values(sideBySideMethods)]) {
      expect(() => method({ ...graph, labels })).toThrow('class 2 has no training node')
    }
  })

  it('options out of range are named', () => {
    expect(() => forwardForwardNodes({ graph, theta: NaN })).toThrow('theta must be finite')
    expect(() => forwardForwardNodes({ graph, negatives: 3 })).toThrow('negatives must be an integer from 1 to 2')
    expect(() => forwardForwardNodes({ graph, labels: 'both' as never })).toThrow("labels must be 'virtual-nodes' or 'features'")
    expect(() => singleForward({ graph, temperature: 0 })).toThrow('temperature must be positive')
    expect(() => singleForward({ graph, appendLabels: 'some' as never })).toThrow("appendLabels must be 'none', 'input' or 'all'")
    expect(() => singleForward({ graph, widths: [] })).toThrow('widths is empty')
    expect(() => singleForward({ graph, epochs: 0 })).toThrow('epochs must be a positive integer')
    expect(() => singleForward({ graph, widths: [10], layer: (width) => gat(width) })).toThrow("can't be divided by 4 heads")
    expect(() => topDownToLoss({ graph, widths: [8, 16] })).toThrow('all layers must have one width')
    expect(() => pepita({ graph, projection: -1 })).toThrow('projection must be at least 0, got -1')
    expect(() => topDownToLoss({ graph, clip: 0 })).toThrow('clip must be positive')
    expect(() => topDownToInput({ graph, inferenceSteps: 2 })).toThrow('expected inferenceSteps > skippedSteps')
    const { features: _, ...bare } = graph
    expect(() => singleForward({ graph: bare })).toThrow('the graph has no features')
    expect(() => localLinks({ graph: bare, pairs: links })).toThrow('the graph has no features')
  })

  it('pairs that do not fit are named', () => {
    const { train } = links
    const made = (change: Partial<typeof train>) => () => localLinks({ graph: linkGraph, pairs: { train: { ...train, ...change } } })
    expect(made({ label: train.label.map((value) => 2 * value) })).toThrow('pair 0 of train has label 2; expected 0 or 1')
    expect(made({ src: train.src.map(() => 500) })).toThrow('pair 0 of train has node 500')
    expect(made({ label: train.label.slice(1) })).toThrow('sources')
    expect(made({ label: train.label.map(() => 1) })).toThrow('both kinds are needed')
    expect(() => localLinks({ graph: linkGraph, pairs: links, theta: Infinity })).toThrow('theta must be finite')
    expect(() => localLinks({ graph: linkGraph, pairs: links, objective: 'x' as never })).toThrow("objective must be 'single-forward'")
  })
})
