import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { parseAedat2, parseAedat3 } from './aedat'
import { eventSet, hasEventSet } from './event-sets'
import { openData } from './open'

const root = mkdtempSync(join(tmpdir(), 'bpf-events-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))
const data = openData({ dataDir: root, env: {}, cwd: root })

type Event = { x: number; y: number; polarity: number; time: number; valid?: boolean }

function aedat3(events: readonly Event[], type = 1): Buffer {
  const header = Buffer.from('#!AER-DAT3.1\r\n#Format: RAW\r\n#!END-HEADER\r\n')
  const packet = Buffer.alloc(28 + 8 * events.length)
  packet.writeInt16LE(type, 0)
  packet.writeInt32LE(8, 4)
  packet.writeInt32LE(events.length, 16)
  packet.writeInt32LE(events.length, 20)
  for (const [i, { x, y, polarity, time, valid = true }] of events.entries()) {
    packet.writeUInt32LE(((x << 17) | (y << 2) | (polarity << 1) | (valid ? 1 : 0)) >>> 0, 28 + 8 * i)
    packet.writeInt32LE(time, 32 + 8 * i)
  }
  return Buffer.concat([header, packet])
}

function aedat2(events: readonly Event[]): Buffer {
  const body = Buffer.alloc(8 * events.length)
  for (const [i, { x, y, polarity, time }] of events.entries()) {
    body.writeUInt32BE(((127 - y) << 8) | ((127 - x) << 1) | (1 - polarity), 8 * i)
    body.writeUInt32BE(time, 8 * i + 4)
  }
  return Buffer.concat([Buffer.from('#!AER-DAT2.0\r\n# a comment\r\n'), body])
}

const events: Event[] = [
  { x: 3, y: 120, polarity: 1, time: 5 },
  { x: 127, y: 0, polarity: 0, time: 9 },
  { x: 64, y: 64, polarity: 1, time: 20 },
]

describe('event recordings', () => {
  it('are read from AEDAT 3.1, without invalid events and other packets', () => {
    const file = Buffer.concat([aedat3([{ ...events[0], valid: false }, ...events]), aedat3(events, 2).subarray(42)])
    const { x, y, polarity, time } = parseAedat3(file, 'a.aedat')
    expect([[...x], [...y], [...polarity], [...time]]).toEqual([
      [3, 127, 64],
      [120, 0, 64],
      [1, 0, 1],
      [5, 9, 20],
    ])
  })

  it('are read from AEDAT 2.0', () => {
    const { x, y, polarity, time } = parseAedat2(aedat2(events), 'b.aedat')
    expect([[...x], [...y], [...polarity], [...time]]).toEqual([
      [3, 127, 64],
      [120, 0, 64],
      [1, 0, 1],
      [5, 9, 20],
    ])
  })

  it('of another format or broken off are refused', () => {
    expect(() => parseAedat3(aedat2(events), 'b.aedat')).toThrow(/b\.aedat: not an AEDAT 3\.1 file; it begins with '#!AER-DAT2\.0/)
    expect(() => parseAedat3(aedat3(events).subarray(0, 60), 'a.aedat')).toThrow(/broken off at byte 42/)
  })
})

describe('eventSet', () => {
  it('says what is needed', () => {
    expect(hasEventSet(data, 'dvs-gesture')).toBe(false)
    expect(() => eventSet(data, 'dvs-gesture', { steps: 2, size: 4 })).toThrow(
      /DVS128 Gesture \(a folder with trials_to_train\.txt, .*not found in .*--data-dir/,
    )
  })

  it('cuts gestures by their tables', () => {
    const folder = join(root, 'DvsGesture')
    mkdirSync(folder)
    for (const [list, name] of [
      ['trials_to_train.txt', 'user01_led'],
      ['trials_to_test.txt', 'user02_led'],
    ]) {
      writeFileSync(join(folder, list), `${name}.aedat\n`)
      writeFileSync(join(folder, `${name}.aedat`), aedat3(events))
      writeFileSync(join(folder, `${name}_labels.csv`), 'class,startTime_usec,endTime_usec\n11,0,10\n2,10,30\n')
    }
    const { train } = eventSet(data, 'dvs-gesture', { steps: 2, size: 4 })
    expect(train.x.shape).toEqual([2, 2, 4, 4, 2])
    expect([...train.y]).toEqual([10, 1])
    const places = [...train.x.data].flatMap((count, i) => (count > 0 ? [i] : []))
    // Clip 0: frame 0 row 3 column 0 brighter, frame 1 row 0 column 3 darker; clip 1: row 2 column 2 brighter.
    expect(places).toEqual([25, 32 + 6, 64 + 21])
  })

  it('splits CIFAR10-DVS nine to one in every class', () => {
    for (const name of ['airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck']) {
      mkdirSync(join(root, 'CIFAR10DVS', name), { recursive: true })
      for (let i = 0; i < 10; i++) writeFileSync(join(root, 'CIFAR10DVS', name, `cifar10_${name}_${i}.aedat`), aedat2(events))
    }
    const { train, test } = eventSet(data, 'cifar10-dvs', { steps: 1, size: 2 })
    expect([train.y.length, test.y.length]).toEqual([90, 10])
    expect([...test.y]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  })
})
