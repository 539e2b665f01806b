/**
 * H. Seo, J. Yun, E. Yang, "TEDDY: Trimming Edges with Degree-based Discrimination Strategy", ICLR 2024, arXiv 2402.01261.
 * Graph lottery tickets in one shot: edges are ranked once by degrees alone and the lowest go; one training on the sparse graph
 * with weights projected onto an ℓ0 ball after every step, and the logits of the network on the whole graph to learn from.
 */
import { fit, logSoftmax, OptionError, ShapeError, tree, valueAndGrad, type FitOptions, type Key, type Tree } from '@bpf/core'
import { adam, addDecayedWeights, applyUpdates, chain, type Optimizer } from '@bpf/core/optim'
import { fold, key as keyOf, permutationArray } from '@bpf/core/random'
import * as tf from '@tensorflow/tfjs-core'
import { selectEdges, type Graph } from '../graph'
import { labelledGraph, maskedCrossEntropy, nodesOf, nodeSums, wholeGraph, type GraphStep, type NodeLearner } from '../node-classifier'
import { keepBest, startBest, type BestSoFar } from './best'
import { edgeScores, edgesToKeep, type PruneOptions } from './edges'
import { graphInputs, graphNetwork, type GraphNetworkOptions } from './networks'
import { distillationLoss, projectL0 } from './objective'

/** Options of {@link sparseStudent}. */
export interface SparseStudentOptions extends Omit<GraphNetworkOptions, 'classes'> {
  /** The graph to train on, pruned or whole. */
  graph: Graph
  /** p_θ, the share of weights that are 0 after every step, in [0, 1). Default 0. */
  weightSparsity?: number
  /** Logits [n, C] of a teacher, row-major. */
  teacher?: Float32Array
  /** λ ≥ 0, weight of the distillation. Default 0.1 where there is a teacher. */
  lambda?: number
  /** Default Adam with rate 0.01 and coupled weight decay 5e-4. */
  optimizer?: Optimizer
}

/** Parameters, optimizer, and the parameters at the latest best validation so far with their accuracies. */
export type SparseStudentState = BestSoFar<Tree>

/** A learner of {@link sparseStudent}: predictions are those of the best parameters. */
export type SparseStudent = NodeLearner<SparseStudentState> & {
  /** Logits [n, C] of all nodes with the best parameters, without dropout. */
  logits(state: SparseStudentState): tf.Tensor
}

/**
 * A graph network trained with projected weights and, where there is a teacher, by its logits too. Every step ends with an
 * evaluation; the state keeps the parameters of the best validation accuracy, the latest of equals.
 *
 * @throws OptionError for options out of range, a graph without features, labels or masks; ShapeError for a teacher of
 *   another size
 */
export function sparseStudent(options: SparseStudentOptions): SparseStudent {
  const { graph, weightSparsity = 0, teacher, lambda = teacher === undefined ? 0 : 0.1, ...rest } = options
  const { optimizer = chain(addDecayedWeights(5e-4), adam({ learningRate: 0.01 })), ...shape } = rest
  const { labels, classes, masks } = labelledGraph('sparseStudent', graph)
  if (!(weightSparsity >= 0 && weightSparsity < 1)) {
    throw new OptionError(`sparseStudent: weightSparsity must be in [0, 1), got ${weightSparsity}`)
  }
  if (!(lambda >= 0)) throw new OptionError(`sparseStudent: lambda must be at least 0, got ${lambda}`)
  if (teacher !== undefined && teacher.length !== graph.nodes * classes) {
    throw new ShapeError(`sparseStudent: the teacher has ${teacher.length} logits, expected [${graph.nodes}, ${classes}]`)
  }
  const network = graphNetwork({ ...shape, classes })
  const inputs = graphInputs(network, graph)
  const train = nodesOf(masks.train)
  // A step takes the constants of the graph once, for its gradient and for the evaluation after it.
  const logits = (params: Tree, { x, adjacency } = inputs(), key?: Key): tf.Tensor => network.apply(params, adjacency, x, key)
  return {
    classes,
    init: (key) => ({ tensors: startBest(network.init(key, graph.features?.columns ?? 0), optimizer), host: null }),
    step(state, _, key) {
      return tree.tidy(() => {
        const given = inputs()
        const { value, grads } = valueAndGrad((params: Tree) => {
          const scores = logits(params, given, key)
          if (teacher === undefined || lambda === 0) return maskedCrossEntropy(scores, labels, train)
          return distillationLoss(scores, tf.tensor2d(teacher, [graph.nodes, classes]), labels, train, lambda).loss
        })(state.params)
        const { updates, state: next } = optimizer.update(grads, state.optimizer, state.params)
        const params = projectL0(applyUpdates(state.params, updates), weightSparsity)
        const { accuracy, testAccuracy } = nodeSums(logSoftmax(logits(params, given)), labels, masks, tf.ones([1])).sums
        return {
          tensors: keepBest(state, { params, optimizer: next, accuracy, testAccuracy }, 'latest'),
          metrics: { loss: value, accuracy },
        }
      })
    },
    evaluate: ({ best }, _, weight) => tree.tidy(() => nodeSums(logSoftmax(logits(best)), labels, masks, weight)),
    predict: ({ best }) => tf.tidy(() => tf.softmax(logits(best))),
    logits: ({ best }) => tf.tidy(() => logits(best)),
  }
}

/** How edges are chosen: by TEDDY's scores, lowest first; by the reverse, or by lot, to compare with; by 1/(d_i d_j) alone. */
export type EdgeRanking = 'teddy' | 'reversed' | 'random' | 'degree'

/** When weights are pruned: projected after every step of training, or by magnitude once at the end, to compare with. */
export type WeightPruning = 'every-step' | 'at-end'

/** Options of {@link fitTeddy}. */
export interface FitTeddyOptions extends Omit<SparseStudentOptions, 'graph' | 'teacher'>, PruneOptions {
  /** p_g, share of edges to remove, in [0, 1). */
  edgeSparsity: number
  /** Default 'teddy'. */
  ranking?: EdgeRanking
  /** Default 'every-step'. */
  weightPruning?: WeightPruning
  /** Epochs of the teacher and of the student. Default 200. */
  epochs?: number
  /** Train a teacher on the whole graph first. Default true where λ is not 0. */
  distil?: boolean
  key?: Key
  reporter?: FitOptions<Tree, GraphStep>['reporter']
  signal?: AbortSignal
}

/** A sparse graph and the network trained on it. */
export interface TeddyResult {
  /** The pruned graph. */
  graph: Graph
  scores: ReturnType<typeof edgeScores>
  /** Parameters at the latest best validation. The caller owns them. */
  params: Tree
  validationAccuracy: number
  testAccuracy: number
  /** Of the teacher, where there is one. */
  teacherAccuracy: number | undefined
  /** Shares that are really gone, of undirected pairs (or directed entries) and of weights. */
  edgeSparsity: number
  weightSparsity: number
  /** Of one inference: Σ over layers of n·nnz(W) + (kept entries + self-loops)·width; and with nothing removed. */
  multiplyAdds: number
  denseMultiplyAdds: number
}

/** Entries to keep by a ranking. */
function ranked(graph: Graph, options: FitTeddyOptions, key: Key) {
  const { ranking = 'teddy', edgeSparsity, directed } = options
  const scores = edgeScores(graph)
  const byRanking: Record<EdgeRanking, () => ArrayLike<number>> = {
    teddy: () => scores.edge,
    reversed: () => scores.edge.map((value) => -value),
    degree: () => Float64Array.from(graph.src, (from, e) => 1 / (scores.degree[from] * scores.degree[graph.dst[e]])),
    random: () => permutationArray(key, graph.src.length),
  }
  if (!Object.hasOwn(byRanking, ranking)) {
    throw new OptionError(`fitTeddy: unknown ranking '${String(ranking)}'; expected one of ${Object.keys(byRanking).join(', ')}`)
  }
  return { scores, ...edgesToKeep(graph, byRanking[ranking](), edgeSparsity, { directed }) }
}

/** Trains a student and reads its accuracies. The caller owns the state. */
async function trained(
  student: SparseStudent,
  epochs: number,
  key: Key,
  { reporter, signal }: Pick<FitTeddyOptions, 'reporter' | 'signal'>,
) {
  const { state } = await fit(student, wholeGraph(epochs), { epochs: 1, key, reporter, signal } as FitOptions<
    SparseStudentState,
    GraphStep
  >)
  const [validation] = await state.tensors.accuracy.data()
  const [test] = await state.tensors.testAccuracy.data()
  return { tensors: state.tensors, validation, test }
}

/** Accuracies of the best parameters of a state. */
async function accuraciesOf(student: SparseStudent, tensors: SparseStudentState): Promise<{ validation: number; test: number }> {
  const sums = tree.tidy(() => student.evaluate?.(tensors, { index: tf.zeros([1], 'int32') }, tf.ones([1]), keyOf(0))?.sums ?? {})
  const [[validation], [test]] = await Promise.all([sums.accuracy.data(), sums.testAccuracy.data()])
  tree.dispose(sums)
  return { validation, test }
}

/** How many parameters are not 0. */
function nonZero(params: Tree): number {
  return tree.leaves(params).reduce((sum, leaf) => sum + Array.from(leaf.dataSync()).filter((value) => value !== 0).length, 0)
}

/**
 * TEDDY: removes edges by degree in one shot, then trains one network on what is left, with sparse weights and, by default,
 * a teacher trained on the whole graph.
 *
 * @param graph - undirected, with features, labels and masks
 * @throws OptionError for shares outside [0, 1), λ < 0, an unknown kind or ranking; DataError for a graph without edges or,
 *   unless `directed`, not symmetric
 *
 * @example
 * ```ts
 * import { random } from '@bpf/core'
 * import { classFeatures, createGraph, degreeCorrectedBlockModel, fitTeddy, splitNodes } from '@bpf/gnn'
 *
 * const blocks = degreeCorrectedBlockModel(random.key(0), { nodes: 300, classes: 3, meanDegree: 8, mix: 0.25 })
 * const features = classFeatures(random.key(1), blocks.labels ?? [], { columns: 16, classes: 3, spread: 0.5 })
 * const graph = splitNodes(random.key(2), createGraph({ ...blocks, features }), { train: 0.1, validation: 0.2 })
 * const ticket = await fitTeddy(graph, { edgeSparsity: 0.4, weightSparsity: 0.5, hidden: 16, epochs: 60, lambda: 1 })
 * console.log(ticket.testAccuracy, ticket.multiplyAdds / ticket.denseMultiplyAdds)
 * ```
 */
export async function fitTeddy(graph: Graph, options: FitTeddyOptions): Promise<TeddyResult> {
  const {
    epochs = 200,
    key = keyOf(0),
    distil = options.lambda !== 0,
    lambda,
    weightSparsity = 0,
    weightPruning = 'every-step',
    kind,
    hidden,
    heads,
    dropout,
    optimizer,
  } = options
  if (!Number.isInteger(epochs) || epochs < 1) throw new OptionError(`fitTeddy: epochs must be a positive integer, got ${epochs}`)
  if (weightPruning !== 'every-step' && weightPruning !== 'at-end') {
    throw new OptionError(`fitTeddy: weightPruning must be 'every-step' or 'at-end', got '${String(weightPruning)}'`)
  }
  const { classes } = labelledGraph('fitTeddy', graph)
  const { scores, keep, removed } = ranked(graph, options, fold(key, 2))
  const shape = { kind, hidden, heads, dropout, optimizer }
  const defined = Object.fromEntries(Object.entries(shape).filter(([, value]) => value !== undefined))

  // Teacher and student start from the same seed, as in the paper's code.
  const trainKey = fold(key, 0)
  let teacher: { logits: Float32Array; test: number } | undefined
  if (distil) {
    const dense = sparseStudent({ ...defined, graph })
    const run = await trained(dense, epochs, trainKey, options)
    const logits = dense.logits(run.tensors)
    teacher = { logits: Float32Array.from(await logits.data()), test: run.test }
    tree.dispose(run.tensors)
    logits.dispose()
    options.signal?.throwIfAborted()
  }
  const pruned = selectEdges(graph, (e) => keep[e] === 1)
  const student = sparseStudent({
    ...defined,
    graph: pruned,
    weightSparsity: weightPruning === 'at-end' ? 0 : weightSparsity,
    ...(teacher !== undefined && { teacher: teacher.logits }),
    ...(lambda !== undefined && { lambda }),
  })
  const run = await trained(student, epochs, trainKey, options)
  options.signal?.throwIfAborted()
  const params = projectL0(run.tensors.best, weightPruning === 'at-end' ? weightSparsity : 0)
  const { validation, test } = weightPruning === 'at-end' ? await accuraciesOf(student, { ...run.tensors, best: params }) : run
  tree.dispose(run.tensors)

  const size = tree.size(params)
  const left = nonZero(params)
  const network = graphNetwork({ ...defined, classes })
  // Each node has a self-loop beside its entries.
  const cost = (g: Graph, weights: number): number =>
    g.nodes * weights + network.widths.reduce((sum, width) => sum + (g.src.length + g.nodes) * width, 0)
  const pairs = options.directed === true ? graph.src.length : graph.src.filter((from, e) => from < graph.dst[e]).length
  return {
    graph: pruned,
    scores,
    params,
    validationAccuracy: validation,
    testAccuracy: test,
    teacherAccuracy: teacher?.test,
    edgeSparsity: removed / pairs,
    weightSparsity: 1 - left / size,
    multiplyAdds: cost(pruned, left),
    denseMultiplyAdds: cost(graph, size),
  }
}
