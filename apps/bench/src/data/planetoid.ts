import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parsePlanetoid, rowNormalise, type Graph, type PlanetoidFiles } from '@bpf/gnn'

const extensions: Readonly<Record<keyof PlanetoidFiles, string>> = {
  x: 'x',
  y: 'y',
  tx: 'tx',
  ty: 'ty',
  allx: 'allx',
  ally: 'ally',
  graph: 'graph',
  testIndex: 'test.index',
}

/** A Planetoid set from the folders the user named, features summing to 1; undefined where it is not there. */
export function readPlanetoid(folders: readonly string[], name: string): Graph | undefined {
  const folder = folders.find((candidate) => existsSync(join(candidate, `ind.${name}.graph`)))
  if (folder === undefined) return undefined
  const read = (extension: string): Uint8Array => new Uint8Array(readFileSync(join(folder, `ind.${name}.${extension}`)))
  const files = Object.fromEntries(Object.entries(extensions).map(([part, extension]) => [part, read(extension)]))
  return rowNormalise(parsePlanetoid(files as unknown as PlanetoidFiles))
}
