/** Recordings of event cameras: AEDAT 3.1 (DVS128 Gesture) and AEDAT 2.0 (CIFAR10-DVS). */
import { DataError } from '@bpf/core'

/** Events in the order of the file. */
export interface Recording {
  x: Uint16Array
  y: Uint16Array
  /** 1 for brighter, 0 for darker. */
  polarity: Uint8Array
  /** Microseconds. */
  time: Float64Array
}

function emptyRecording(count: number): Recording {
  return { x: new Uint16Array(count), y: new Uint16Array(count), polarity: new Uint8Array(count), time: new Float64Array(count) }
}

const shortened = ({ x, y, polarity, time }: Recording, count: number): Recording => ({
  x: x.slice(0, count),
  y: y.slice(0, count),
  polarity: polarity.slice(0, count),
  time: time.slice(0, count),
})

const newline = 10
const hash = 35

/** Where the header's lines, which begin with #, end. */
function headerEnd(bytes: Uint8Array, last?: string): number {
  let at = 0
  while (bytes[at] === hash) {
    const end = bytes.indexOf(newline, at)
    if (end < 0) return bytes.length
    const line = String.fromCharCode(...bytes.subarray(at, end)).trim()
    at = end + 1
    if (line === last) return at
  }
  return at
}

function checkFormat(bytes: Uint8Array, version: string, name: string): void {
  const first = String.fromCharCode(...bytes.subarray(0, 20))
  if (!first.startsWith(`#!AER-DAT${version}`))
    throw new DataError(`${name}: not an AEDAT ${version} file; it begins with '${first.trim()}'`)
}

const packetHeader = 28
const polarityEvents = 1

/**
 * Reads the polarity events of an AEDAT 3.1 file.
 *
 * @param name - of the file, for errors
 * @throws DataError when it isn't one, or broken off
 */
export function parseAedat3(bytes: Uint8Array, name: string): Recording {
  checkFormat(bytes, '3.1', name)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const begin = headerEnd(bytes, '#!END-HEADER')
  const out = emptyRecording(Math.floor((bytes.length - begin) / 8))
  let count = 0
  for (let at = begin; at < bytes.length;) {
    if (at + packetHeader > bytes.length) throw new DataError(`${name}: broken off at byte ${at}; get the file again`)
    const [type, size, overflow, number] = [
      view.getInt16(at, true),
      view.getInt32(at + 4, true),
      view.getInt32(at + 12, true),
      view.getInt32(at + 20, true),
    ]
    const next = at + packetHeader + size * number
    if (size < 1 || next > bytes.length) throw new DataError(`${name}: broken off at byte ${at}; get the file again`)
    for (let event = at + packetHeader; type === polarityEvents && event < next; event += size) {
      const data = view.getUint32(event, true)
      if ((data & 1) === 0) continue
      out.polarity[count] = (data >>> 1) & 1
      out.y[count] = (data >>> 2) & 0x7fff
      out.x[count] = data >>> 17
      out.time[count] = view.getInt32(event + 4, true) + overflow * 2 ** 31
      count++
    }
    at = next
  }
  return shortened(out, count)
}

/**
 * Reads the events of a DVS128 camera in an AEDAT 2.0 file.
 *
 * @param name - of the file, for errors
 * @throws DataError when it isn't one
 */
export function parseAedat2(bytes: Uint8Array, name: string): Recording {
  checkFormat(bytes, '2.0', name)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const begin = headerEnd(bytes)
  const count = Math.floor((bytes.length - begin) / 8)
  const out = emptyRecording(count)
  for (let i = 0; i < count; i++) {
    const address = view.getUint32(begin + 8 * i)
    // The camera's corner is at the lower right, and bit 0 is set for darker.
    out.x[i] = 127 - ((address >>> 1) & 0x7f)
    out.y[i] = 127 - ((address >>> 8) & 0x7f)
    out.polarity[i] = 1 - (address & 1)
    out.time[i] = view.getUint32(begin + 8 * i + 4)
  }
  return out
}
