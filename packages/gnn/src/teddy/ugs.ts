/**
 * T. Chen et al., "A Unified Lottery Ticket Hypothesis for Graph Neural Networks", ICML 2021, arXiv 2102.06790: the iterative
 * baseline of TEDDY. Masks on edges and weights are trained with the network, the smallest are removed, the weights go back to
 * their first values, and the sparse network is trained again; level after level.
 */
import { fit, OptionError, tree, valueAndGrad, type FitOptions, type Key, type Learner, type Tree } from '@bpf/core'
import { adam, addDecayedWeights, applyUpdates, chain, type Optimizer } from '@bpf/core/optim'
import { fold, key as keyOf, uniformArray } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { withSelfLoops, type Graph } from '../graph'
import { nodeInput } from '../layers'
import { labelledGraph, maskedCrossEntropy, nodesOf, nodeSums, wholeGraph, type GraphStep } from '../node-classifier'
import { gatherColumns, gatherRows, sparseArrays, sparseTensors, sumByRow, type SparseMatrix } from '../sparse-matrix'
import { keepBest, startBest, type BestSoFar } from './best'
import { graphNetwork, type GraphNetworkKind, type GraphNetworkOptions } from './networks'

/** Options of iterative pruning by trained masks. */
export interface IterativePruningOptions extends Omit<GraphNetworkOptions, 'classes'> {
  /** Levels of pruning. Default 20. */
  levels?: number
  /** Share of the remaining entries and weights removed at each level. Default 0.05 and 0.1. */
  edgeRate?: number
  weightRate?: number
  /** Epochs with masks, and again without. Default 200. */
  epochs?: number
  key?: Key
  signal?: AbortSignal
}

/** Options of {@link fitUgs}. */
export interface FitUgsOptions extends IterativePruningOptions {
  /** λ of the sums of absolute masks. Default 1e-4 both. */
  edgePenalty?: number
  weightPenalty?: number
}

/** One level of {@link fitUgs} or {@link fitWdGlt}: what is gone, and the accuracies of the network trained again. */
export type PruningLevel = { edgeSparsity: number; weightSparsity: number; validationAccuracy: number; testAccuracy: number }

/** Weights, and masks on entries and weights where they are trained. */
type Masked = { weights: Tree; edges: tf.Tensor; masks: Tree }
type State = BestSoFar<Masked>

/** What is still there: 1 for entries and weights that were not removed. */
interface Alive {
  edges: Float32Array
  weights: Float32Array
}

/** The k-th smallest magnitude, k = ⌊count · rate⌋, of those still there; what is not larger goes. */
function removeLowest(values: ArrayLike<number>, alive: Float32Array, rate: number): Float32Array {
  const magnitudes = Array.from(values, Math.abs)
    .filter((_, i) => alive[i] === 1)
    .sort((a, b) => a - b)
  const threshold = magnitudes[Math.min(Math.floor(magnitudes.length * rate), magnitudes.length - 1)]
  return alive.map((there, i) => (there === 1 && Math.abs(values[i]) > threshold ? 1 : 0))
}

/** What drives the masks while they are trained, beside the cross-entropy. */
export interface MaskObjective {
  /** Added to the loss. */
  penalty(terms: { edges: tf.Tensor; masks: Tree; logits: tf.Tensor }): tf.Tensor
  /** Range of the masks on entries, kept after every step. */
  range?: readonly [number, number]
}

/** Kinds whose layers add self-loops, which are never masked. */
const looping: ReadonlySet<GraphNetworkKind> = new Set(['gcn', 'gat'])

/** The entries weighed by masks, and normalised as the layers of that kind want it. */
function weighedEntries(kind: GraphNetworkKind, all: SparseMatrix, weights: tf.Tensor, nodes: number): SparseMatrix {
  const matrix = { ...all, value: weights }
  if (kind === 'gin' || kind === 'gat') return matrix
  const sums = tf.maximum(sumByRow(matrix, weights, nodes), 1e-12)
  if (kind === 'sage') return { ...matrix, value: tf.div(weights, gatherRows(matrix, sums)) }
  const scale = tf.rsqrt(sums)
  return { ...matrix, value: tf.mul(weights, tf.mul(gatherRows(matrix, scale), gatherColumns(matrix, scale))) }
}

/**
 * Levels of: train masks with the network, remove the smallest, rewind the weights, train again.
 *
 * @throws OptionError for options out of range
 */
export async function pruneIteratively(
  where: string,
  graph: Graph,
  options: IterativePruningOptions,
  objective: MaskObjective,
): Promise<PruningLevel[]> {
  const { kind = 'gcn', levels = 20, edgeRate = 0.05, weightRate = 0.1, epochs = 200, key = keyOf(0), signal, ...shape } = options
  const { labels, classes, masks: parts } = labelledGraph(where, graph)
  for (const [name, rate] of Object.entries({ edgeRate, weightRate })) {
    if (!(rate >= 0 && rate < 1)) throw new OptionError(`${where}: ${name} must be in [0, 1), got ${rate}`)
  }
  if (!Number.isInteger(levels) || levels < 1) throw new OptionError(`${where}: levels must be a positive integer, got ${levels}`)
  const network = graphNetwork({ ...shape, classes, kind }, { weighted: true })
  const train = nodesOf(parts.train)
  const isLooped = looping.has(kind)
  const looped = isLooped ? withSelfLoops(graph) : graph
  const entries = sparseArrays(graph.nodes, looped.dst, looped.src)
  const isMasked = Float32Array.from(entries.row, (i, e) => (isLooped && i === entries.column[e] ? 0 : 1))
  const { range } = objective
  const optimizer: Optimizer = chain(addDecayedWeights(5e-4), adam({ learningRate: 0.01 }))
  const first = network.init(fold(key, 0), graph.features?.columns ?? 0)
  const { structure } = tree.flatten(first)
  const sizes = tree.leaves(first).map(({ size, shape }) => ({ size, shape }))

  /** A flat vector of weights' masks as a tree. */
  const weightTree = (flat: Float32Array): Tree => {
    let at = 0
    return tree.unflatten<Tree>(
      structure,
      sizes.map(({ size, shape }) => tf.tensor(flat.slice(at, (at += size)), shape)),
    )
  }
  /** Trains weights, and masks with them where `trainsMasks`. */
  function learner(alive: Alive, trainsMasks: boolean): Learner<State, GraphStep> {
    const constants = () => ({
      x: nodeInput(graph),
      entries: sparseTensors(entries),
      edges: tf.tensor1d(alive.edges),
      weights: weightTree(alive.weights),
    })
    const logits = ({ weights, edges, masks }: Masked, there: ReturnType<typeof constants>, k?: Key): tf.Tensor => {
      const fixed = tf.tensor1d(isMasked.map((value) => 1 - value))
      const entryWeights = trainsMasks ? tf.add(tf.mul(tf.mul(edges, there.edges), tf.tensor1d(isMasked)), fixed) : there.edges
      const own: Tree = tree.map((w, m) => tf.mul(w, m), weights, there.weights)
      const used: Tree = trainsMasks ? tree.map((w, m) => tf.mul(w, m), own, masks) : own
      return network.apply(used, weighedEntries(kind, there.entries, entryWeights, graph.nodes), there.x, k)
    }
    return {
      init(k) {
        const jitter = (i: number, n: number): Float32Array => uniformArray(fold(k, i), n, { low: 1 - 1e-5, high: 1 + 1e-5 })
        const params: Masked = {
          weights: tree.clone(first),
          edges: tf.tensor1d(jitter(0, entries.row.length)),
          masks: weightTree(jitter(1, alive.weights.length)),
        }
        return { tensors: startBest(params, optimizer), host: null }
      },
      step(state, _, k) {
        return tree.tidy(() => {
          const there = constants()
          const { value, grads } = valueAndGrad((params: Masked) => {
            const scores = logits(params, there, k)
            const ce = maskedCrossEntropy(scores, labels, train)
            return trainsMasks ? tf.add(ce, objective.penalty({ ...params, logits: scores })) : ce
          })(state.params)
          const { updates, state: next } = optimizer.update(grads, state.optimizer, state.params)
          const updated = applyUpdates(state.params, updates)
          const params = trainsMasks && range !== undefined ? { ...updated, edges: tf.clipByValue(updated.edges, ...range) } : updated
          const { accuracy, testAccuracy } = nodeSums(logits(params, there), labels, parts, tf.ones([1])).sums
          return {
            tensors: keepBest(state, { params, optimizer: next, accuracy, testAccuracy }, 'earliest'),
            metrics: { loss: value },
          }
        })
      },
    }
  }
  const run = async (alive: Alive, trainsMasks: boolean, k: Key): Promise<State> => {
    const { state } = await fit(learner(alive, trainsMasks), wholeGraph(epochs), { epochs: 1, key: k, signal } as FitOptions<
      State,
      GraphStep
    >)
    signal?.throwIfAborted()
    return state.tensors
  }

  const out: PruningLevel[] = []
  let alive: Alive = {
    edges: new Float32Array(entries.row.length).fill(1),
    weights: new Float32Array(sizes.reduce((sum, { size }) => sum + size, 0)).fill(1),
  }
  for (let level = 1; level <= levels; level++) {
    const masked = await run(alive, true, fold(key, 2 * level))
    const edgeMasks = await masked.best.edges.data()
    const weightMasks = (await Promise.all(tree.leaves(masked.best.masks).map((leaf) => leaf.data()))).flatMap((data) => [...data])
    tree.dispose(masked)
    const candidates = alive.edges.map((there, e) => (isMasked[e] === 1 ? there : 0))
    const edges = removeLowest(edgeMasks, candidates, edgeRate).map((there, e) => (isMasked[e] === 1 ? there : 1))
    alive = { edges, weights: removeLowest(weightMasks, alive.weights, weightRate) }
    const again = await run(alive, false, fold(key, 2 * level + 1))
    const maskable = isMasked.reduce((sum, value) => sum + value, 0)
    out.push({
      edgeSparsity: alive.edges.reduce((sum, there, e) => sum + (isMasked[e] === 1 ? 1 - there : 0), 0) / maskable,
      weightSparsity: 1 - alive.weights.reduce((sum, there) => sum + there, 0) / alive.weights.length,
      validationAccuracy: (await again.accuracy.data())[0],
      testAccuracy: (await again.testAccuracy.data())[0],
    })
    tree.dispose(again)
  }
  tree.dispose(first)
  return out
}

/**
 * Graph lottery tickets by iterative magnitude pruning of trained masks (UGS). For GAT the masks multiply the logits of the
 * attention; for the other kinds, the entries of the sums over neighbours, before they are normalised.
 *
 * @param graph - with features, labels and masks; entries are masked one by one, as directed
 * @returns one record for each level, cumulative
 * @throws OptionError for options out of range
 */
export async function fitUgs(graph: Graph, options: FitUgsOptions = {}): Promise<PruningLevel[]> {
  const { edgePenalty = 1e-4, weightPenalty = 1e-4, ...rest } = options
  const norm = (t: readonly Tree[]): tf.Tensor => tf.addN(tree.leaves(t).map((leaf) => tf.sum(tf.abs(leaf))))
  return pruneIteratively('fitUgs', graph, rest, {
    penalty: ({ edges, masks }) => tf.add(tf.mul(norm([edges]), edgePenalty), tf.mul(norm([masks]), weightPenalty)),
  })
}
