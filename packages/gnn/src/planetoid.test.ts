import { describe, expect, it } from 'vitest'
import { fromGraphology, isSymmetric, parseEdgeList, parsePlanetoid } from './index'
import { readPickle } from './shared/pickle'
import { tinyPlanetoid } from './__fixtures__/tiny-planetoid'

const text = (value: string): Uint8Array => Uint8Array.from(value, (c) => c.charCodeAt(0))

describe('readPickle', () => {
  it('calls nothing: an unknown class is an error that names it', () => {
    expect(() => readPickle(text("cos\nsystem\n(S'rm -rf'\ntR."), 'x')).toThrow('names os system; only numpy arrays')
  })

  it('says where a file ends too early', () => {
    const { x } = tinyPlanetoid()
    for (const cut of [0, 1, 20, x.length - 10]) {
      expect(() => readPickle(x.subarray(0, cut), 'ind.tiny.x')).toThrow(/ind\.tiny\.x: .* at byte \d+ of \d+/)
    }
  })
})

describe('parsePlanetoid', () => {
  it('puts test rows where test.index says, splits, and drops loops and duplicates', () => {
    const graph = parsePlanetoid(tinyPlanetoid())
    expect(graph.nodes).toBe(5)
    expect([...(graph.labels ?? [])]).toEqual([0, 1, 0, 1, 0])
    expect(isSymmetric(graph)).toBe(true)
    expect([...graph.src]).toEqual([1, 0, 2, 1, 4, 4, 2, 3])
    expect([...(graph.masks?.train ?? [])]).toEqual([1, 1, 0, 0, 0])
    expect([...(graph.masks?.validation ?? [])]).toEqual([0, 0, 1, 0, 0])
    expect([...(graph.masks?.test ?? [])]).toEqual([0, 0, 0, 1, 1])
    expect(graph.features).toMatchObject({ kind: 'sparse', columns: 3 })
  })

  it('names parts that do not fit, and edges to nodes that are not there', () => {
    const files = tinyPlanetoid()
    expect(() => parsePlanetoid({ ...files, testIndex: text('3\n') })).toThrow('test.index: expected 2 node indices')
    expect(() => parsePlanetoid({ ...files, graph: text('(dp0\nI0\n(lp1\nI9\nas.') })).toThrow('node 0 is linked to 9')
  })
})

describe('parseEdgeList', () => {
  it('reads pairs, weights and comments', () => {
    const graph = parseEdgeList('# a comment\n0 1 0.5\n1\t2\t2\n')
    expect([...graph.dst]).toEqual([0, 1, 1, 2])
    expect([...(graph.weight ?? [])]).toEqual([0.5, 0.5, 2, 2])
  })

  it('names the line that is no edge', () => {
    expect(() => parseEdgeList('0 1\nzero 1')).toThrow("line 2: 'zero 1' is no edge")
    expect(() => parseEdgeList('0 1 2\n0 2')).toThrow('1 of 2 edges have a weight')
  })
})

describe('fromGraphology', () => {
  it('reads nodes, directions and a weight attribute', () => {
    const source = {
      order: 2,
      nodes: () => ['a', 'b'],
      forEachEdge: (callback: (...args: [string, Record<string, unknown>, string, string, unknown, unknown, boolean]) => void) => {
        callback('e', { w: 3 }, 'a', 'b', {}, {}, true)
      },
    }
    const { graph, keys } = fromGraphology(source, { weight: 'w' })
    expect(keys).toEqual(['a', 'b'])
    expect([...graph.src]).toEqual([1, 0])
    expect([...(graph.weight ?? [])]).toEqual([3, 3])
    expect(() => fromGraphology(source, { weight: 'missing' })).toThrow("edge 'e' has no number")
  })
})
