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
  splitNodes,
  type FitTeddyOptions,
  type Graph,
} from '@bpf/gnn'
import { atLeast } from '../claims'
import { readPlanetoid } from '../data/planetoid'
import type { Paper, PaperResults, RunContext, SeedResult } from '../paper'

interface Settings {
  /** A generated graph of so many nodes, or Planetoid sets from the user's folder. */
  nodes: number | readonly string[]
  hidden: number
  epochs: number
  edgeSparsity: number
  weightSparsity: number
  lambda: number
  /** Levels of UGS; its rates bring it near the same sparsity. */
  ugsLevels: number
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
  'random-weights': {
    name: 'random edges and weights, no distillation',
    options: ({ weightSparsity }) => ({ ranking: 'random', weightSparsity }),
  },
}
const claimed = ['dense', 'teddy', 'random', 'reversed', 'teddy-full', 'random-full']

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
  if (!onlyClaims && settings.ugsLevels > 0) {
    const last = await context.part(`${prefix}ugs`, async () => {
      const levels = await fitUgs(graph, { levels: settings.ugsLevels, hidden, epochs, key, signal })
      return levels[levels.length - 1]
    })
    values[`${prefix}ugs/accuracy`] = last.testAccuracy
    values[`${prefix}ugs/edges`] = last.edgeSparsity
    values[`${prefix}ugs/weights`] = last.weightSparsity
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
    return { values: await compare(context, '', graph, fold(key, 3)), series: { picture: removedByDegree(graph, settings.edgeSparsity) } }
  }
  const values: Record<string, number> = {}
  for (const name of settings.nodes) {
    const graph = readPlanetoid(data.folders, name)
    if (graph !== undefined) Object.assign(values, await compare(context, `${name}/`, graph, fold(key, 3)))
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
  ugsLevels: 10,
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
      settings: { ...embedded, nodes: 400, hidden: 16, epochs: 60, ugsLevels: 1 },
    },
    embedded: {
      description: 'block model of 1,000 nodes with heavy-tailed degrees, GCN of width 32, 40 % of the edges removed, 150 epochs',
      seeds: 5,
      seconds: 150,
      settings: embedded,
    },
    full: {
      description:
        'Cora, Citeseer, PubMed with the public split (ind.* files from --data-dir), GCN of width 512, 200 epochs, 40 % of the edges',
      seeds: 5,
      seconds: 20_000,
      settings: { ...embedded, nodes: ['cora', 'citeseer', 'pubmed'], hidden: 512, epochs: 200 },
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
  ],
  run,
  tables(results) {
    const prefixes = results.has('dense/accuracy')
      ? ['']
      : ['cora/', 'citeseer/', 'pubmed/'].filter((prefix) => results.has(`${prefix}dense/accuracy`))
    return prefixes.map((prefix) => ({
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
        ...(results.has(`${prefix}ugs/accuracy`)
          ? [
              {
                method: `UGS (iterative; ${Math.round(100 * results.mean(`${prefix}ugs/edges`))} % of edges, ${Math.round(100 * results.mean(`${prefix}ugs/weights`))} % of weights)`,
                accuracy: results.summary(`${prefix}ugs/accuracy`),
              },
            ]
          : []),
      ],
    }))
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
