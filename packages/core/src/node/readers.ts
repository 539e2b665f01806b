import {
  parseCifar10,
  parseCifar100,
  parseCsv,
  parseIdx,
  parseNpy,
  parseNpz,
  type CsvOptions,
  type HostArray,
  type Table,
} from '../data/index'
import { concatRows } from '../data/host-array'
import { OptionError } from '../errors'
import { readBytes } from './files'

/** Reads an IDX file, plain or gzipped (MNIST, Fashion-MNIST); see `parseIdx`. */
export async function readIdx(path: string): Promise<HostArray> {
  return parseIdx(await readBytes(path), path)
}

/** Reads batch files of CIFAR-10's binary version, one after another; see `parseCifar10`. */
export async function readCifar10(paths: readonly string[]): Promise<{ images: HostArray; labels: HostArray }> {
  if (paths.length === 0) throw new OptionError('readCifar10: expected at least one path')
  const parts = await Promise.all(paths.map(async (path) => parseCifar10(await readBytes(path), path)))
  return { images: concatRows(parts.map((part) => part.images)), labels: concatRows(parts.map((part) => part.labels)) }
}

/** Reads a file of CIFAR-100's binary version; see `parseCifar100`. */
export async function readCifar100(path: string): Promise<{ images: HostArray; labels: HostArray; coarseLabels: HostArray }> {
  return parseCifar100(await readBytes(path), path)
}

/** Reads a CSV file as typed columns; see `parseCsv`. */
export async function readCsv(path: string, options: CsvOptions = {}): Promise<Table> {
  return parseCsv(await readBytes(path), options, path)
}

/** Reads a NumPy array file; see `parseNpy`. */
export async function readNpy(path: string): Promise<HostArray> {
  return parseNpy(await readBytes(path), path)
}

/** Reads an archive of NumPy arrays; see `parseNpz`. */
export async function readNpz(path: string): Promise<Map<string, HostArray>> {
  return parseNpz(await readBytes(path), path)
}
