import { fit, tree, useBackend, valueAndGrad } from '@bpf/core'
import { adam, addDecayedWeights, chain } from '@bpf/core/optim'
import { key, normal } from '@bpf/core/random'
import { learnerContract } from '@bpf/core/testing'
import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import {
  barabasiAlbert,
  classFeatures,
  classSeparation,
  createGraph,
  degreeCorrectedBlockModel,
  distillationLoss,
  edgeScores,
  edgesToKeep,
  fitTeddy,
  fitUgs,
  fitWdGlt,
  isSymmetric,
  projectL0,
  pruneEdges,
  sparseStudent,
  splitNodes,
  wholeGraph,
  type Graph,
} from './index'

beforeAll(() => useBackend('onnx'))

const blocks = degreeCorrectedBlockModel(key(0), { nodes: 200, classes: 3, meanDegree: 8, mix: 0.2 })
const features = classFeatures(key(1), blocks.labels as Int32Array, { columns: 12, classes: 3, spread: 0.6 })
const graph = splitNodes(key(2), createGraph({ ...blocks, features }), { train: 0.15, validation: 0.2 })
const small = { hidden: 8, dropout: 0.3 }

const undirected = (nodes: number, pairs: [number, number][]): Graph =>
  createGraph({ nodes, src: pairs.map(([a]) => a), dst: pairs.map(([, b]) => b), undirected: true })
const scoreOf = (g: Graph, a: number, b: number): number => edgeScores(g).edge[g.src.findIndex((from, e) => from === a && g.dst[e] === b)]

describe.each(['gcn', 'gat', 'gin', 'sage'] as const)('a student of kind %s keeps the contract', (kind) => {
  const learner = () => sparseStudent({ graph, kind, hidden: 8, heads: 2, weightSparsity: 0.3 })
  // A batch is only a number here: there is no other shape, and no NaN to feed.
  const checks = learnerContract({ learner, dataset: () => wholeGraph(4) }).filter(({ name }) => !/NaN in a batch|another shape/.test(name))
  for (const check of checks) it(check.name, check.run)
})

describe('oracles of card 28', () => {
  it('1: on a d-regular graph every score is d^(−3)', () => {
    const ring = undirected(
      12,
      Array.from({ length: 12 }, (_, i): [number, number] => [i, (i + 1) % 12]),
    )
    for (const score of edgeScores(ring).edge) expect(score).toBeCloseTo(2 ** -3, 12)
  })

  it('2: in a star of m leaves every edge scores m^(−3/2)', () => {
    const m = 9
    const star = undirected(
      m + 1,
      Array.from({ length: m }, (_, i): [number, number] => [0, i + 1]),
    )
    const { node, edge } = edgeScores(star)
    expect(node[0]).toBeCloseTo(1, 12)
    expect(node[1]).toBeCloseTo(m ** -0.5, 12)
    for (const score of edge) expect(score).toBeCloseTo(m ** -1.5, 12)
  })

  it('3: a path of four nodes', () => {
    const path = undirected(4, [
      [0, 1],
      [1, 2],
      [2, 3],
    ])
    const inner = (1 + Math.SQRT1_2) / 4
    expect(scoreOf(path, 0, 1)).toBeCloseTo(Math.SQRT1_2 * inner, 12)
    expect(scoreOf(path, 1, 2)).toBeCloseTo(inner ** 2, 12)
  })

  it('4: without sparsity and distillation it is plain training, bit for bit', async () => {
    const options = { epochs: 1, key: key(3) }
    const plain = await fit(sparseStudent({ graph, ...small }), wholeGraph(8), options)
    const whole = edgesToKeep(graph, edgeScores(graph).edge, 0)
    expect(whole.removed).toBe(0)
    const same = await fit(
      sparseStudent({ graph: pruneEdges(graph, edgeScores(graph).edge, 0), ...small, weightSparsity: 0, lambda: 0 }),
      wholeGraph(8),
      options,
    )
    const values = (t: typeof plain) => tree.leaves(t.state.tensors).map((leaf) => Array.from(leaf.dataSync()))
    expect(values(same)).toEqual(values(plain))
    tree.dispose(plain.state.tensors, same.state.tensors)
  })

  it('5: scores and the kept graph are symmetric', () => {
    const { edge } = edgeScores(graph)
    const mirrored = new Map(Array.from(graph.src, (from, e) => [`${graph.dst[e]} ${from}`, edge[e]]))
    graph.src.forEach((from, e) => expect(mirrored.get(`${from} ${graph.dst[e]}`)).toBe(edge[e]))
    expect(isSymmetric(pruneEdges(graph, edge, 0.4))).toBe(true)
  })

  it('6: after every step exactly h weights are 0', async () => {
    const learner = sparseStudent({ graph, ...small, weightSparsity: 0.5 })
    const { state } = await fit(learner, wholeGraph(3), { epochs: 1 })
    const leaves = tree.leaves(state.tensors.params)
    const zeros = leaves.reduce((sum, leaf) => sum + Array.from(leaf.dataSync()).filter((v) => v === 0).length, 0)
    expect(zeros).toBe(Math.ceil(0.5 * leaves.reduce((sum, leaf) => sum + leaf.size, 0)))
    tree.dispose(state.tensors)
  })

  it('7: a student that says what the teacher says has no divergence and no gradient of it', () => {
    tf.tidy(() => {
      const logits = normal(key(4), [10, 3])
      const labels = new Int32Array(10)
      const kl = valueAndGrad((z: tf.Tensor) => distillationLoss(z, logits, labels, Int32Array.of(0), 1).kl)(logits)
      expect(Math.abs(kl.value.dataSync()[0])).toBeLessThan(1e-6)
      expect(tf.max(tf.abs(kl.grads)).dataSync()[0]).toBeLessThan(1e-7)
    })
  })

  it('8: what goes at one sparsity goes at every higher one', () => {
    const { edge } = edgeScores(graph)
    const kept = [0.2, 0.4, 0.6].map((p) => edgesToKeep(graph, edge, p).keep)
    kept[0].forEach((stays, e) => {
      if (stays === 0) expect(kept[1][e] + kept[2][e]).toBe(0)
      if (kept[1][e] === 0) expect(kept[2][e]).toBe(0)
    })
  })

  it('9: scores of 50,000 nodes need no n × n matrix', () => {
    const large = barabasiAlbert(key(5), { nodes: 50_000, links: 3 })
    const begun = performance.now()
    expect(edgeScores(large).edge).toHaveLength(large.src.length)
    expect(performance.now() - begun).toBeLessThan(2000)
  })

  it('10: renumbering the nodes renumbers the scores', () => {
    const place = (i: number): number => (i * 7) % graph.nodes
    const moved = createGraph({ nodes: graph.nodes, src: graph.src.map(place), dst: graph.dst.map(place) })
    const before = edgeScores(graph)
    const after = edgeScores(moved)
    before.node.forEach((g, i) => expect(after.node[place(i)]).toBeCloseTo(g, 12))
    expect([...after.edge].sort()).toEqual(expect.arrayContaining([Math.max(...after.edge)]))
  })
})

describe('classSeparation', () => {
  it('of two classes that each say one thing is twice the distance of what they say', () => {
    tf.tidy(() => {
      const rows = tf.tensor2d([
        [0.9, 0.1],
        [0.9, 0.1],
        [0.2, 0.8],
      ])
      // Exponents are thousands: float32 keeps four digits of the plan.
      expect(classSeparation(rows).dataSync()[0]).toBeCloseTo(2 * Math.hypot(0.7, 0.7), 3)
    })
  })

  it('finds the best pairing, and adds nothing for classes without rows', () => {
    tf.tidy(() => {
      // Two rows of class 0 go to two rows of class 1: in order, 0.6 and 0.6 apart; crosswise it is the same sum.
      const rows = tf.tensor2d([0.9, 0.7, 0.3, 0.1].map((p) => [p, 1 - p, 0]))
      expect(classSeparation(rows).dataSync()[0]).toBeCloseTo(2 * 0.6 * Math.SQRT2, 3)
      expect(classSeparation(tf.tensor2d([[1, 0, 0]])).dataSync()[0]).toBe(0)
    })
  })

  it('has the gradient of finite differences', () => {
    tf.tidy(() => {
      const values = Array.from(normal(key(6), [6, 3]).dataSync())
      const separation = (x: tf.Tensor): tf.Tensor => classSeparation(tf.softmax(x), { epsilon: 0.1 })
      const { grads } = valueAndGrad(separation)(tf.tensor2d(values, [6, 3]))
      const slopes = grads.dataSync()
      const step = 1e-2
      const at = (i: number, h: number): number =>
        separation(
          tf.tensor2d(
            values.map((v, j) => (j === i ? v + h : v)),
            [6, 3],
          ),
        ).dataSync()[0]
      slopes.forEach((slope, i) => expect(slope).toBeCloseTo((at(i, step) - at(i, -step)) / (2 * step), 2))
    })
  })
})

describe('fitTeddy', () => {
  it('finds a sparse graph and network that still classify, and counts what is left', async () => {
    const ticket = await fitTeddy(graph, { ...small, edgeSparsity: 0.4, weightSparsity: 0.5, lambda: 1, epochs: 60, key: key(1) })
    expect(ticket.edgeSparsity).toBeCloseTo(0.4, 2)
    expect(ticket.weightSparsity).toBeCloseTo(0.5, 2)
    expect(ticket.multiplyAdds / ticket.denseMultiplyAdds).toBeLessThan(0.7)
    expect(ticket.testAccuracy).toBeGreaterThan(0.8)
    expect(ticket.teacherAccuracy).toBeGreaterThan(0.8)
    tree.dispose(ticket.params)
  })

  it.each(['gat', 'gin', 'sage'] as const)('trains %s', async (kind) => {
    const ticket = await fitTeddy(graph, { hidden: 4, heads: 2, kind, edgeSparsity: 0.2, weightSparsity: 0.2, epochs: 40, lambda: 0.1 })
    expect(ticket.testAccuracy).toBeGreaterThan(0.6)
    tree.dispose(ticket.params)
  })

  it.each(['gcn', 'gat', 'gin', 'sage'] as const)('UGS with %s removes a share of what is left at each level', async (kind) => {
    const levels = await fitUgs(graph, { kind, hidden: 8, heads: 2, levels: 2, epochs: 30, edgeRate: 0.1, weightRate: 0.2 })
    expect(levels[0].edgeSparsity).toBeCloseTo(0.1, 2)
    expect(levels[1].edgeSparsity).toBeCloseTo(0.19, 2)
    expect(levels[1].weightSparsity).toBeCloseTo(0.36, 1)
    expect(levels[1].testAccuracy).toBeGreaterThan(0.6)
  })

  it('WD-GLT removes a share of what is left at each level', async () => {
    const options = { hidden: 8, levels: 2, epochs: 30, edgeRate: 0.1, weightRate: 0.2 }
    const levels = await fitWdGlt(graph, { ...options, comparedNodes: 40 })
    expect(levels[1].edgeSparsity).toBeCloseTo(0.19, 2)
    expect(levels[1].weightSparsity).toBeCloseTo(0.36, 1)
    expect(levels[1].testAccuracy).toBeGreaterThan(0.6)
  })

  it('prunes weights once at the end, where asked', async () => {
    const options = { ...small, edgeSparsity: 0.4, weightSparsity: 0.5, lambda: 0, epochs: 60, key: key(1) }
    const once = await fitTeddy(graph, { ...options, weightPruning: 'at-end' })
    const whole = await fitTeddy(graph, { ...options, weightSparsity: 0 })
    expect(once.weightSparsity).toBeCloseTo(0.5, 2)
    const [kept, dense] = [once.params, whole.params].map((p) => tree.leaves(p).flatMap((leaf) => Array.from(leaf.dataSync())))
    kept.forEach((value, i) => expect([0, dense[i]]).toContain(value))
    expect(Math.max(...dense.filter((_, i) => kept[i] === 0).map(Math.abs))).toBeLessThanOrEqual(
      Math.min(...kept.filter((value) => value !== 0).map(Math.abs)),
    )
    tree.dispose(once.params, whole.params)
  })

  it('names bad input', async () => {
    const directed = createGraph({ nodes: 3, src: [0, 1], dst: [1, 2] })
    expect(() => edgesToKeep(directed, [1, 1], 0.5)).toThrow('the graph is not symmetric')
    expect(() => edgesToKeep(graph, edgeScores(graph).edge, 1)).toThrow('sparsity must be in [0, 1), got 1')
    expect(() => edgesToKeep(graph, [1], 0.1)).toThrow('1 scores for')
    expect(() => edgesToKeep(createGraph({ nodes: 2, src: [], dst: [] }), [], 0.1)).toThrow('the graph has no edges')
    expect(() => sparseStudent({ graph, lambda: -1 })).toThrow('lambda must be at least 0, got -1')
    expect(() => sparseStudent({ graph, teacher: new Float32Array(5) })).toThrow('the teacher has 5 logits, expected [200, 3]')
    expect(() => projectL0([tf.ones([2])], 1.5)).toThrow('sparsity must be in [0, 1], got 1.5')
    expect(() => sparseStudent({ graph, kind: 'cnn' as 'gcn' })).toThrow("unknown kind 'cnn'")
    await expect(fitUgs(graph, { levels: 0 })).rejects.toThrow('fitUgs: levels must be a positive integer')
    await expect(fitWdGlt(graph, { edgeRate: 1 })).rejects.toThrow('fitWdGlt: edgeRate must be in [0, 1), got 1')
    await expect(fitWdGlt(graph, { comparedNodes: 201 })).rejects.toThrow('comparedNodes must be an integer from 2 to 200, got 201')
    await expect(fitTeddy(graph, { edgeSparsity: 0.1, weightPruning: 'once' as 'at-end' })).rejects.toThrow(
      "weightPruning must be 'every-step'",
    )
    await expect(fitTeddy(graph, { edgeSparsity: 0.1, ranking: 'best' as 'teddy' })).rejects.toThrow("unknown ranking 'best'")
    expect(() => sparseStudent({ graph, optimizer: chain(addDecayedWeights(0), adam({ learningRate: 0.1 })), weightSparsity: 1 })).toThrow(
      'weightSparsity',
    )
  })
})
