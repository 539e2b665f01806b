/**
 * Reproduces Seo et al., "TEDDY: Trimming Edges with Degree-based Discrimination Strategy", ICLR 2024, arXiv 2402.01261: edges
 * removed by degree against edges removed by lot, the reverse order and the iterative baseline, with sparse weights and
 * distillation.
 */
import { tree, type Key } from '@bpf/core'
import { fold } from '@bpf/core/random'
import {
  classFeatures,
  createGraph,
  degreeCorrectedBlockModel,
  degrees,
  edgeScores,
  edgesToKeep,
  fitTeddy,
  fitUgs,
  fitWdGlt,
  splitNodes,
  type FitTeddyOptions,
  type FitUgsOptions,
  type Graph,
  type GraphNetworkKind,
  type PruningLevel,
} from '@bpf/gnn'
import { atLeast } from '../claims'
import { readPlanetoid } from '../data/planetoid'
import type { Paper, PaperResults, RunContext, SeedResult, Verdict } from '../paper'

interface Settings {
  /** A generated graph of so many nodes, or Planetoid sets from the user's folder. */
  nodes: number | readonly string[]
  hidden: number
  epochs: number
  edgeSparsity: number
  weightSparsity: number
  lambda: number
  /** Levels of the iterative baselines; their rates bring them near the same sparsity. */
  iterativeLevels: number
  /** Nodes whose outputs WD-GLT compares; all where there are no more. */
  comparedNodes: number
  /** Accuracy at each level of sparsity: 1 − 0.95^s of the edges, 1 − 0.9^s of the weights. */
  sweep?: { levels: number; kinds: readonly GraphNetworkKind[]; lambdas: readonly number[] }
}

/** What is trained: the name under which it is reported, and how it differs from the dense network. */
const methods: Readonly<Record<string, { name: string; options: (settings: Settings) => Partial<FitTeddyOptions> }>> = {
  dense: { name: 'dense graph and weights', options: () => ({ edgeSparsity: 0 }) },
  teddy: { name: 'TEDDY, edges only', options: () => ({}) },
  random: { name: 'random edges', options: () => ({ ranking: 'random' }) },
  reversed: { name: 'reversed scores', options: () => ({ ranking: 'reversed' }) },
  degree: { name: 'degree only, 1/(d_i d_j)', options: () => ({ ranking: 'degree' }) },
  'teddy-full': {
    name: 'TEDDY: edges, weights, distillation',
    options: ({ weightSparsity, lambda }) => ({ weightSparsity, lambda, distil: true }),
  },
  'random-full': {
    name: 'random edges, weights, distillation',
    options: ({ weightSparsity, lambda }) => ({ ranking: 'random', weightSparsity, lambda, distil: true }),
  },
  'teddy-weights': { name: 'TEDDY edges and weights, no distillation', options: ({ weightSparsity }) => ({ weightSparsity }) },
  'teddy-at-end': {
    name: 'TEDDY edges, weights pruned once at the end, no distillation',
    options: ({ weightSparsity }) => ({ weightSparsity, weightPruning: 'at-end' }),
  },
  'random-weights': {
    name: 'random edges and weights, no distillation',
    options: ({ weightSparsity }) => ({ ranking: 'random', weightSparsity }),
  },
}
const claimed = ['dense', 'teddy', 'random', 'reversed', 'teddy-full', 'random-full']

/** The iterative baselines. */
const iterative: Readonly<
  Record<string, { name: string; fit: (graph: Graph, settings: Settings, options: FitUgsOptions) => Promise<PruningLevel[]> }>
> = {
  ugs: { name: 'UGS', fit: (graph, _, options) => fitUgs(graph, options) },
  'wd-glt': {
    name: 'WD-GLT',
    fit: (graph, { comparedNodes }, options) => fitWdGlt(graph, { ...options, comparedNodes: Math.min(comparedNodes, graph.nodes) }),
  },
}

function generated(nodes: number, key: Key): Graph {
  const blocks = degreeCorrectedBlockModel(fold(key, 0), { nodes, classes: 5, meanDegree: 8, mix: 0.25 })
  const features = classFeatures(fold(key, 1), blocks.labels ?? [], { columns: 64, classes: 5, spread: 0.35 })
  return splitNodes(fold(key, 2), createGraph({ ...blocks, features }), { train: 0.1, validation: 0.2 })
}

async function compare(context: RunContext<Settings>, prefix: string, graph: Graph, key: Key): Promise<Record<string, number>> {
  const { settings, signal, onlyClaims } = context
  const { hidden, epochs, edgeSparsity } = settings
  const values: Record<string, number> = {}
  for (const [id, { name, options }] of Object.entries(methods)) {
    if (onlyClaims && !claimed.includes(id)) continue
    const { accuracy, cost } = await context.part(`${prefix}${id}`, async () => {
      const given = { edgeSparsity, hidden, epochs, distil: false, lambda: 0, key, signal, reporter: context.reporter(name) }
      const ticket = await fitTeddy(graph, { ...given, ...options(settings) })
      tree.dispose(ticket.params)
      return { accuracy: ticket.testAccuracy, cost: ticket.multiplyAdds / ticket.denseMultiplyAdds }
    })
    values[`${prefix}${id}/accuracy`] = accuracy
    if (id === 'teddy-full') values[`${prefix}cost`] = cost
  }
  if (!onlyClaims) {
    for (const [id, { fit: fitBaseline }] of Object.entries(iterative)) {
      const last = await context.part(`${prefix}${id}`, async () => {
        const levels = await fitBaseline(graph, settings, { levels: settings.iterativeLevels, hidden, epochs, key, signal })
        return levels[levels.length - 1]
      })
      values[`${prefix}${id}/accuracy`] = last.testAccuracy
      values[`${prefix}${id}/edges`] = last.edgeSparsity
      values[`${prefix}${id}/weights`] = last.weightSparsity
    }
  }
  return values
}

const levelName = (prefix: string, kind: string, level: number, id: string): string => `${prefix}${kind}/level-${level}/${id}`

/** Level after level, TEDDY in one shot, with λ by validation accuracy, and the iterative baselines. */
async function sweep(context: RunContext<Settings>, prefix: string, graph: Graph, key: Key): Promise<Record<string, number>> {
  const { settings, signal } = context
  const { hidden, epochs } = settings
  const values: Record<string, number> = {}
  const { levels, kinds, lambdas } = settings.sweep ?? { levels: 0, kinds: [], lambdas: [] }
  for (const kind of kinds) {
    const shared = { kind, hidden, epochs, key, signal }
    const accuracyOf = async (options: FitTeddyOptions): Promise<{ validation: number; test: number }> => {
      const ticket = await fitTeddy(graph, { ...shared, ...options })
      tree.dispose(ticket.params)
      return { validation: ticket.validationAccuracy, test: ticket.testAccuracy }
    }
    const dense = await context.part(`${prefix}${kind}/dense`, () => accuracyOf({ edgeSparsity: 0, lambda: 0 }))
    values[`${prefix}${kind}/dense`] = dense.test
    for (let level = 1; level <= levels; level++) {
      const [edgeSparsity, weightSparsity] = [1 - 0.95 ** level, 1 - 0.9 ** level]
      const name = levelName(prefix, kind, level, 'teddy')
      values[name] = await context.part(name, async () => {
        let best = { validation: -1, test: 0 }
        for (const lambda of lambdas) {
          const tried = await accuracyOf({ edgeSparsity, weightSparsity, lambda })
          if (tried.validation > best.validation) best = tried
        }
        return best.test
      })
    }
    for (const [id, { fit: fitBaseline }] of Object.entries(iterative)) {
      const all = await context.part(`${prefix}${kind}/${id}`, () => fitBaseline(graph, settings, { ...shared, levels }))
      all.forEach(({ testAccuracy }, i) => (values[levelName(prefix, kind, i + 1, id)] = testAccuracy))
    }
  }
  return values
}

/** How many undirected edges join nodes of such degrees (in powers of two), and what share of them is removed. */
function removedByDegree(graph: Graph, edgeSparsity: number) {
  const { keep } = edgesToKeep(graph, edgeScores(graph).edge, edgeSparsity)
  const degree = degrees(graph)
  const bins = new Map<string, { lower: number; upper: number; kept: number; gone: number }>()
  graph.src.forEach((from, e) => {
    const to = graph.dst[e]
    if (from >= to) return
    const lower = 2 ** Math.floor(Math.log2(Math.min(degree[from], degree[to])))
    const upper = 2 ** Math.floor(Math.log2(Math.max(degree[from], degree[to])))
    const name = `${lower} ${upper}`
    const bin = bins.get(name) ?? { lower, upper, kept: 0, gone: 0 }
    if (keep[e] === 1) bin.kept++
    else bin.gone++
    bins.set(name, bin)
  })
  return Array.from(bins.values(), ({ lower, upper, kept, gone }) => ({
    lower,
    upper,
    edges: kept + gone,
    removed: gone / (kept + gone),
  }))
}

async function run(context: RunContext<Settings>): Promise<SeedResult> {
  const { settings, key, data } = context
  if (typeof settings.nodes === 'number') {
    const graph = generated(settings.nodes, key)
    const values = { ...(await compare(context, '', graph, fold(key, 3))), ...(await sweep(context, '', graph, fold(key, 4))) }
    return { values, series: { picture: removedByDegree(graph, settings.edgeSparsity) } }
  }
  const values: Record<string, number> = {}
  for (const name of settings.nodes) {
    const graph = readPlanetoid(data.folders, name)
    if (graph === undefined) continue
    Object.assign(values, await compare(context, `${name}/`, graph, fold(key, 3)))
    Object.assign(values, await sweep(context, `${name}/`, graph, fold(key, 4)))
  }
  return { values }
}

const embedded: Settings = {
  nodes: 1000,
  hidden: 32,
  epochs: 150,
  edgeSparsity: 0.4,
  weightSparsity: 0.5,
  lambda: 1,
  iterativeLevels: 10,
  comparedNodes: 100,
}

const datasets = ['cora', 'citeseer', 'pubmed']

/** Every data set and kind of network that was swept, with what was measured at each level. */
function swept(results: PaperResults): { title: string; id: string; dense: number; levels: Record<string, number>[] }[] {
  return ['', ...datasets.map((name) => `${name}/`)].flatMap((prefix) =>
    networkKinds
      .filter((kind) => results.has(levelName(prefix, kind, 1, 'teddy')))
      .map((kind) => {
        const levels: Record<string, number>[] = []
        for (let s = 1; results.has(levelName(prefix, kind, s, 'teddy')); s++) {
          const measured = ['teddy', ...Object.keys(iterative)].map((id) => [id, results.mean(levelName(prefix, kind, s, id))])
          levels.push({ level: s, ...(Object.fromEntries(measured) as Record<string, number>) })
        }
        const title = `${prefix === '' ? 'block model' : prefix.slice(0, -1)}, ${kind.toUpperCase()}`
        return { title, id: `${prefix.replace('/', '-')}${kind}`, dense: results.mean(`${prefix}${kind}/dense`), levels }
      }),
  )
}
const networkKinds: readonly GraphNetworkKind[] = ['gcn', 'gat', 'gin', 'sage']

/** A verdict on the worst of all sweeps. */
function worstSweep(
  results: PaperResults,
  measure: (sweep: ReturnType<typeof swept>[number]) => number,
  bound: number,
  of: string,
): Verdict {
  const all = swept(results).map(measure)
  if (all.length > 0) return atLeast(Math.min(...all), bound, { of })
  return { holds: false, measured: { text: 'not measured: no ind.* files in --data-dir' }, expected: { text: `≥ ${bound}`, value: bound } }
}

const accuracy = (results: PaperResults, id: string): number => results.mean(`${id}/accuracy`)

/** The reproduction of paper 28. */
export const paper: Paper<Settings> = {
  number: 28,
  slug: 'teddy',
  title: 'TEDDY: Trimming Edges with Degree-based Discrimination Strategy',
  arxiv: '2402.01261',
  package: '@bpf/gnn',
  presets: {
    quick: {
      description: 'block model of 400 nodes with heavy-tailed degrees, GCN of width 16, 40 % of the edges removed, 60 epochs',
      seeds: 1,
      seconds: 6,
      settings: {
        ...embedded,
        nodes: 400,
        hidden: 16,
        epochs: 60,
        iterativeLevels: 1,
        comparedNodes: 40,
        sweep: { levels: 2, kinds: ['gin'], lambdas: [0.1] },
      },
    },
    embedded: {
      description: 'block model of 1,000 nodes with heavy-tailed degrees, GCN of width 32, 40 % of the edges removed, 150 epochs',
      seeds: 5,
      seconds: 150,
      settings: embedded,
    },
    full: {
      description:
        'Cora, Citeseer, PubMed with the public split (ind.* files from --data-dir), width 512, 200 epochs: GCN with 40 % of the edges removed; GCN, GAT, GIN at 20 levels of sparsity, λ by validation accuracy',
      seeds: 5,
      seconds: 400_000,
      settings: {
        ...embedded,
        nodes: datasets,
        hidden: 512,
        epochs: 200,
        comparedNodes: 1000,
        sweep: { levels: 20, kinds: ['gcn', 'gat', 'gin'], lambdas: [0.01, 0.1, 1, 10] },
      },
    },
  },
  claims: [
    {
      id: 'against-random',
      statement: 'Removing edges by score keeps more accuracy than removing as many by lot, by 1 point',
      presets: ['embedded'],
      check: (results) => atLeast(accuracy(results, 'teddy'), accuracy(results, 'random') + 0.01, { of: 'random edges + 0.01' }),
    },
    {
      id: 'reversed-is-worst',
      statement: 'Removing the best-scored edges is worse than removing by lot, by 1 point',
      presets: ['embedded'],
      check: (results) => atLeast(accuracy(results, 'random'), accuracy(results, 'reversed') + 0.01, { of: 'reversed scores + 0.01' }),
    },
    {
      id: 'weights-too',
      statement: 'With half of the weights gone too, distillation keeps the accuracy within half a point of removing edges only',
      presets: ['embedded'],
      check: (results) => atLeast(accuracy(results, 'teddy-full'), accuracy(results, 'teddy') - 0.005, { of: 'edges only − 0.005' }),
    },
    {
      id: 'full-against-random',
      statement: 'The whole method is better by half a point on edges chosen by score than on edges chosen by lot',
      presets: ['embedded'],
      check: (results) =>
        atLeast(accuracy(results, 'teddy-full'), accuracy(results, 'random-full') + 0.005, { of: 'random edges + 0.005' }),
    },
    {
      id: 'levels-above-ugs',
      statement: 'At 15 of 20 levels of sparsity or more, the accuracy is at least that of UGS, on every data set with every network',
      presets: ['full'],
      check: (results) =>
        worstSweep(
          results,
          ({ levels }) => levels.filter(({ teddy, ugs }) => teddy >= ugs).length,
          15,
          'levels of 20, where it holds least',
        ),
    },
    {
      id: 'levels-near-dense',
      statement: 'Up to level 10 the accuracy is at most 1 point below the dense network, on every data set with every network',
      presets: ['full'],
      check: (results) =>
        worstSweep(
          results,
          ({ levels, dense }) => Math.min(...levels.slice(0, 10).map(({ teddy }) => teddy)) - dense,
          -0.01,
          'TEDDY − dense',
        ),
    },
  ],
  run,
  tables(results) {
    const prefixes = results.has('dense/accuracy')
      ? ['']
      : datasets.map((name) => `${name}/`).filter((prefix) => results.has(`${prefix}dense/accuracy`))
    const accuracies = prefixes.map((prefix) => ({
      id: `accuracy${prefix === '' ? '' : `-${prefix.slice(0, -1)}`}`,
      title: `Test accuracy at the latest best validation${prefix === '' ? '' : `, ${prefix.slice(0, -1)}`}`,
      columns: [
        { key: 'method', label: 'method' },
        { key: 'accuracy', label: 'accuracy', digits: 4, better: 'higher' as const },
      ],
      rows: [
        ...Object.entries(methods)
          .filter(([id]) => results.has(`${prefix}${id}/accuracy`))
          .map(([id, { name }]) => ({ method: name, accuracy: results.summary(`${prefix}${id}/accuracy`) })),
        ...Object.entries(iterative)
          .filter(([id]) => results.has(`${prefix}${id}/accuracy`))
          .map(([id, { name }]) => {
            const percent = (what: string): number => Math.round(100 * results.mean(`${prefix}${id}/${what}`))
            return {
              method: `${name} (iterative; ${percent('edges')} % of edges, ${percent('weights')} % of weights)`,
              accuracy: results.summary(`${prefix}${id}/accuracy`),
            }
          }),
      ],
    }))
    const sweeps = swept(results).map(({ title, id, dense, levels }) => ({
      id: `levels-${id}`,
      title: `Test accuracy by level of sparsity, ${title} (dense: ${dense.toFixed(4)})`,
      columns: [
        { key: 'level', label: 'level', digits: 0 },
        { key: 'teddy', label: 'TEDDY', digits: 4, better: 'higher' as const },
        ...Object.entries(iterative).map(([key, { name }]) => ({ key, label: name, digits: 4, better: 'higher' as const })),
      ],
      rows: levels,
      note: 'Level s has lost 1 − 0.95^s of the edges and 1 − 0.9^s of the weights.',
    }))
    return [...accuracies, ...sweeps]
  },
  figures(results) {
    const [values] = results.series('picture') as { lower: number; upper: number; edges: number; removed: number }[][]
    if (values === undefined) return []
    return [
      {
        id: 'edges',
        title: 'Which edges went',
        caption:
          'Share of edges removed, by the degrees of their two ends: those between hubs go, those between nodes of few neighbours stay.',
        spec: {
          data: { values },
          mark: 'rect',
          encoding: {
            x: { field: 'lower', type: 'ordinal', title: 'smaller degree, from' },
            y: { field: 'upper', type: 'ordinal', sort: 'descending', title: 'larger degree, from' },
            color: { field: 'removed', type: 'quantitative', title: 'share removed' },
            tooltip: [{ field: 'edges', type: 'quantitative' }],
          },
        },
      },
    ]
  },
}
