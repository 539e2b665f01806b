/** Sets of event-camera recordings, from the user's folders, as frames of event counts. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DataError } from '@bpf/core'
import { eventFrames, type Events } from '@bpf/local'
import type { DataAccess } from './access'
import { parseAedat2, parseAedat3, type Recording } from './aedat'

/** Sets that can be read. */
export type EventSetName = 'dvs-gesture' | 'cifar10-dvs'

/** Counts [n, T, height, width, 2], kept as bytes (255 stands for more), and classes. */
export interface EventSet {
  x: { data: Uint8Array; shape: readonly number[]; dtype: 'float32' }
  y: Int32Array
  classes: number
}

const sensor = 128

interface Clip {
  events: () => Events
  label: number
}

/** Collects clips as frames. */
function framed(clips: readonly Clip[], classes: number, steps: number, size: number): EventSet {
  const each = steps * size * size * 2
  const data = new Uint8Array(clips.length * each)
  for (const [i, { events }] of clips.entries()) {
    const frames = eventFrames(events(), { steps, height: sensor, width: sensor, size: [size, size] })
    for (let j = 0; j < each; j++) data[i * each + j] = Math.min(255, frames.data[j])
  }
  return {
    x: { data, shape: [clips.length, steps, size, size, 2], dtype: 'float32' },
    y: Int32Array.from(clips, ({ label }) => label),
    classes,
  }
}

/** The events between two times. */
function between({ x, y, polarity, time }: Recording, from: number, to: number): Events {
  const first = time.findIndex((t) => t >= from)
  const end = time.findIndex((t) => t >= to)
  const [a, b] = [first < 0 ? time.length : first, end < 0 ? time.length : end]
  return { x: x.subarray(a, b), y: y.subarray(a, b), polarity: polarity.subarray(a, b), time: time.subarray(a, b) }
}

/** The trials of a list: each recording is cut by the times and classes (1 … 11) of its table. */
function gestureClips(folder: string, list: string): Clip[] {
  const names = readFileSync(join(folder, list), 'utf8')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
  return names.flatMap((name) => {
    let recording: Recording | undefined
    const table = readFileSync(join(folder, name.replace('.aedat', '_labels.csv')), 'utf8')
      .trim()
      .split('\n')
      .slice(1)
    return table.map((line): Clip => {
      const [label, from, to] = line.split(',').map(Number)
      if (![label, from, to].every(Number.isFinite)) throw new DataError(`${name}: its table of labels has the line '${line}'`)
      return {
        label: label - 1,
        events() {
          // Clips of a recording follow each other; all recordings at once would not fit in memory.
          recording ??= parseAedat3(readFileSync(join(folder, name)), name)
          const clip = between(recording, from, to)
          if (line === table[table.length - 1]) recording = undefined
          return clip
        },
      }
    })
  })
}

/** The files of each class; of every ten one, the tenth, is to test. */
function cifarClips(folder: string, classes: readonly string[]): { train: Clip[]; test: Clip[] } {
  const parts: { train: Clip[]; test: Clip[] } = { train: [], test: [] }
  for (const [label, name] of classes.entries()) {
    const files = readdirSync(join(folder, name))
      .filter((file) => file.endsWith('.aedat'))
      .sort()
    for (const [i, file] of files.entries()) {
      const path = join(folder, name, file)
      parts[i % 10 === 9 ? 'test' : 'train'].push({ label, events: () => parseAedat2(readFileSync(path), path) })
    }
  }
  return parts
}

const cifarClasses = ['airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck']
const sources: Readonly<Record<EventSetName, { title: string; folder: string; needed: readonly string[]; home: string }>> = {
  'dvs-gesture': {
    title: 'DVS128 Gesture',
    folder: 'DvsGesture',
    needed: ['trials_to_train.txt', 'trials_to_test.txt'],
    home: 'research.ibm.com/interactive/dvsgesture',
  },
  'cifar10-dvs': { title: 'CIFAR10-DVS', folder: 'CIFAR10DVS', needed: cifarClasses, home: 'doi.org/10.6084/m9.figshare.4724671' },
}

function folderOf({ folders }: DataAccess, name: EventSetName): string | undefined {
  const { folder, needed } = sources[name]
  return folders.flatMap((place) => [place, join(place, folder)]).find((place) => needed.every((entry) => existsSync(join(place, entry))))
}

/** Whether a set is in one of the user's folders. */
export function hasEventSet(data: DataAccess, name: EventSetName): boolean {
  return folderOf(data, name) !== undefined
}

/**
 * A set of recordings from the user's folders as T frames of equally many events, of `size` × `size` pixels.
 *
 * @throws DataError that names the files, where they come from and the option that names their folder
 */
export function eventSet(
  data: DataAccess,
  name: EventSetName,
  { steps, size }: { steps: number; size: number },
): { train: EventSet; test: EventSet } {
  const folder = folderOf(data, name)
  if (folder === undefined) {
    const { title, needed, home } = sources[name]
    throw new DataError(
      `${title} (a folder with ${needed.join(', ')} and the .aedat recordings; ${home}) was not found in ${data.folders.join(', ') || 'any folder'}; get it and name its folder with --data-dir`,
    )
  }
  const [clips, classes] =
    name === 'dvs-gesture'
      ? [{ train: gestureClips(folder, 'trials_to_train.txt'), test: gestureClips(folder, 'trials_to_test.txt') }, 11]
      : [cifarClips(folder, cifarClasses), cifarClasses.length]
  return { train: framed(clips.train, classes, steps, size), test: framed(clips.test, classes, steps, size) }
}
