import { DataError } from '@bpf/core'
import { readImageArchive } from '@bpf/core/node'
import type { LabelledImages } from './access'

const size = 28

/**
 * Characters of Omniglot from archives of PNG images, as few-shot papers take them: 28 × 28 pixels, ink 255. A class is a
 * character, `Greek/character01`; a drawing that several archives have counts once.
 *
 * @param paths - zip archives with folders <Alphabet>/<character>
 * @throws DataError naming the archive, and the place or image in it, when it is not as it should be
 */
export async function readOmniglot(
  paths: readonly string[],
): Promise<Pick<LabelledImages, 'count' | 'height' | 'width' | 'images' | 'labels' | 'classNames'>> {
  const drawings = new Map<string, { pixels: Uint8Array; character: string }>()
  for (const path of paths) {
    const { images, labels, classes, files } = await readImageArchive(path, { size: [size, size], channels: 1 })
    files.forEach((file, i) => {
      const character = classes[labels.data[i] as number]
      if (character.split('/').length !== 2) {
        throw new DataError(`${path} (${file}): expected a drawing in <Alphabet>/<character>, got '${character}'`)
      }
      const name = `${character}/${file.slice(file.lastIndexOf('/') + 1)}`
      drawings.set(name, { pixels: images.data.subarray(i * size * size, (i + 1) * size * size) as Uint8Array, character })
    })
  }
  const names = [...drawings.keys()].sort()
  const classNames = [...new Set([...drawings.values()].map(({ character }) => character))].sort()
  const position = new Map(classNames.map((name, label) => [name, label]))
  const images = new Uint8Array(names.length * size * size)
  const labels = new Int32Array(names.length)
  names.forEach((name, row) => {
    const { pixels, character } = drawings.get(name) as { pixels: Uint8Array; character: string }
    labels[row] = position.get(character) as number
    for (let at = 0; at < pixels.length; at++) images[row * size * size + at] = 255 - pixels[at]
  })
  return { count: names.length, height: size, width: size, images, labels, classNames }
}

/**
 * Rows of the characters of some alphabets: classes that are new to a network trained on the others.
 *
 * @param set - `omniglot-small`
 * @param alphabets - names as in the archives
 * @throws DataError for an alphabet that is not there
 */
export function alphabetRows({ labels, classNames }: LabelledImages, alphabets: readonly string[]): Int32Array {
  const alphabetOf = classNames.map((name) => name.split('/')[0])
  const missing = alphabets.find((alphabet) => !alphabetOf.includes(alphabet))
  if (missing !== undefined) {
    throw new DataError(`omniglot: there is no alphabet '${missing}'; there are ${[...new Set(alphabetOf)].join(', ')}`)
  }
  return Int32Array.from(labels.keys()).filter((row) => alphabets.includes(alphabetOf[labels[row]]))
}
