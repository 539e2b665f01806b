import { readdir } from 'node:fs/promises'
import { extname, join } from 'node:path'
import type sharp from 'sharp'
import { BackendError, DataError, OptionError } from '../errors'
import type { HostArray } from '../data/index'
import { unzip } from '../data/zip'
import { fileError, readBytes } from './files'

/** Images of a folder with one subfolder per class. */
export interface ImageFolder {
  /** [n, height, width, channels] bytes. */
  readonly images: HostArray
  /** [n] positions in `classes`. */
  readonly labels: HostArray
  /** Names of the subfolders, sorted. */
  readonly classes: readonly string[]
  /** Path of each image. */
  readonly files: readonly string[]
}

/** Options of {@link readImageFolder}. */
export interface ImageFolderOptions {
  /** Resize every image to this height and width (pixels). Without it all images must have the same size. */
  size?: readonly [height: number, width: number]
  /** 3 for colour, 1 for grey. Default 3. */
  channels?: 1 | 3
  /**
   * Imports sharp; replaced in tests.
   * @internal
   */
  load?: () => Promise<unknown>
}

type Sharp = typeof sharp

const extensions = new Set(['.png', '.jpg', '.jpeg'])

/** Images decoded at a time. */
const concurrency = 8

async function importSharp(load: () => Promise<unknown>, caller: string): Promise<Sharp> {
  try {
    return ((await load()) as { default: Sharp }).default
  } catch (error) {
    throw new BackendError(`${caller}: decoding PNG and JPEG needs the package sharp; install it: npm i sharp`, { cause: error })
  }
}

async function sorted(folder: string): Promise<{ name: string; isFolder: boolean }[]> {
  try {
    const found = await readdir(folder, { withFileTypes: true })
    const entries = found.map((entry) => ({ name: entry.name, isFolder: entry.isDirectory() }))
    return entries.filter(({ name }) => !name.startsWith('.')).sort((a, b) => (a.name < b.name ? -1 : 1))
  } catch (error) {
    throw fileError(error, 'read the folder', folder, 'Expected a folder with one subfolder per class.')
  }
}

interface Pixels {
  readonly data: Uint8Array
  readonly height: number
  readonly width: number
}

async function decode(open: Sharp, bytes: Uint8Array, path: string, options: ImageFolderOptions): Promise<Pixels> {
  const { size, channels = 3 } = options
  try {
    let image = open(bytes, { failOn: 'warning' }).removeAlpha()
    if (size !== undefined) image = image.resize({ height: size[0], width: size[1], fit: 'fill' })
    const { data, info } = await image
      .toColourspace(channels === 1 ? 'b-w' : 'srgb')
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true })
    if (info.channels !== channels) throw new Error(`it has ${info.channels} channels, expected ${channels}`)
    return { data, height: info.height, width: info.width }
  } catch (error) {
    throw new DataError(`${path}: expected a whole PNG or JPEG image: ${(error as Error).message}`, { cause: error })
  }
}

/**
 * Reads PNG and JPEG images from a folder with one subfolder per class, in sorted order. Needs the package `sharp`.
 *
 * @param options - `size` to resize to, number of `channels`
 * @throws BackendError when sharp is not installed
 * @throws DataError naming the file when an image is damaged or, without `size`, of another size than the first; when the
 *   folder has no class or a class no image
 */
export async function readImageFolder(folder: string, options: ImageFolderOptions = {}): Promise<ImageFolder> {
  const open = await opener('readImageFolder', options)
  const classes = (await sorted(folder)).filter((entry) => entry.isFolder).map((entry) => entry.name)
  if (classes.length === 0) throw new DataError(`${folder}: expected one subfolder of images per class, got none`)
  const files: string[] = []
  const labels: number[] = []
  for (const [label, name] of classes.entries()) {
    const images = (await sorted(join(folder, name))).filter((entry) => !entry.isFolder && isImage(entry.name))
    if (images.length === 0) throw new DataError(`${join(folder, name)}: expected PNG or JPEG images of class '${name}', got none`)
    for (const image of images) {
      files.push(join(folder, name, image.name))
      labels.push(label)
    }
  }
  const images = await decodeAll(open, files, readBytes, options)
  return { images, labels: { data: Int32Array.from(labels), shape: [files.length] }, classes, files }
}

/**
 * Reads PNG and JPEG images from a zip archive, in sorted order. The class of an image is the folder it lies in, with all of its
 * path below a folder that holds everything: `Greek/character01`. Needs the package `sharp`.
 *
 * @param options - `size` to resize to, number of `channels`
 * @returns as {@link readImageFolder}, `files` being the paths inside the archive
 * @throws BackendError when sharp is not installed
 * @throws DataError naming the archive and the byte where it is damaged, the image that is no image or of another size than the
 *   first, or an image outside of any folder; when there is no image
 */
export async function readImageArchive(path: string, options: ImageFolderOptions = {}): Promise<ImageFolder> {
  const open = await opener('readImageArchive', options)
  const contents = unzip(await readBytes(path), path)
  const files = [...contents.keys()].filter((name) => isImage(name) && !/(^|\/)(\.|__MACOSX\/)/.test(name)).sort()
  if (files.length === 0) throw new DataError(`${path}: expected PNG or JPEG images in folders by class, got none`)
  const depth = new Set(files.map((name) => name.split('/')[0])).size === 1 && files.every((name) => name.split('/').length > 2) ? 1 : 0
  const classOf = (name: string): string => name.split('/').slice(depth, -1).join('/')
  const loose = files.find((name) => classOf(name) === '')
  if (loose !== undefined) throw new DataError(`${path} (${loose}): expected an image in the folder of its class, got one outside`)
  const classes = [...new Set(files.map(classOf))].sort()
  const position = new Map(classes.map((name, label) => [name, label]))
  const labels = Int32Array.from(files, (name) => position.get(classOf(name)) as number)
  const read = (name: string): Promise<Uint8Array> => Promise.resolve(contents.get(name) as Uint8Array)
  const images = await decodeAll(open, files, read, options, (name) => `${path} (${name})`)
  return { images, labels: { data: labels, shape: [files.length] }, classes, files }
}

function isImage(name: string): boolean {
  return extensions.has(extname(name).toLowerCase())
}

async function opener(caller: string, { size, load = () => import('sharp') }: ImageFolderOptions): Promise<Sharp> {
  if (size !== undefined && !size.every((n) => Number.isInteger(n) && n > 0)) {
    throw new OptionError(`${caller}: size must be [height, width] in pixels, got [${size.join(', ')}]`)
  }
  return importSharp(load, caller)
}

/** All images [n, height, width, channels], some at a time. */
async function decodeAll(
  open: Sharp,
  files: readonly string[],
  read: (file: string) => Promise<Uint8Array>,
  options: ImageFolderOptions,
  describe: (file: string) => string = (file) => file,
): Promise<HostArray> {
  const { channels = 3 } = options
  const pixelsOf = async (file: string): Promise<Pixels> => decode(open, await read(file), describe(file), options)
  const first = await pixelsOf(files[0])
  const { height, width } = first
  const pixels = height * width * channels
  const data = new Uint8Array(files.length * pixels)
  const place = async (i: number): Promise<void> => {
    const image = i === 0 ? first : await pixelsOf(files[i])
    if (image.height !== height || image.width !== width) {
      throw new DataError(
        `${describe(files[i])}: expected ${height}×${width} pixels like ${files[0]}, got ${image.height}×${image.width}; pass 'size' to resize`,
      )
    }
    data.set(image.data, i * pixels)
  }
  for (let start = 0; start < files.length; start += concurrency) {
    await Promise.all(Array.from({ length: Math.min(concurrency, files.length - start) }, (_, i) => place(start + i)))
  }
  return { data, shape: [files.length, height, width, channels] }
}
