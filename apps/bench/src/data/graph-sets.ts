import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseGraphNpz, rowNormalise, type Graph } from '@bpf/gnn'
import { readPlanetoid } from './planetoid'

/**
 * A graph set from the folders the user named, `NAME.npz` or else Planetoid's files; undefined where neither is there. Bags of
 * words sum to 1; dense features stay as they are.
 */
export function readGraphSet(folders: readonly string[], name: string): Graph | undefined {
  const folder = folders.find((candidate) => existsSync(join(candidate, `${name}.npz`)))
  if (folder === undefined) return readPlanetoid(folders, name)
  const file = join(folder, `${name}.npz`)
  const graph = parseGraphNpz(new Uint8Array(readFileSync(file)), file)
  return graph.features?.kind === 'sparse' ? rowNormalise(graph) : graph
}
