import { crc32 } from 'node:zlib'

/** An array as an NPY file says it. */
export interface Stored {
  descr: string
  shape: readonly number[]
  data: Float32Array | Int32Array
}

function npy({ descr, shape, data }: Stored): Buffer {
  const text = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${shape.join(', ')},), }`
  const header = Buffer.alloc(10, '\x93NUMPY\x01\x00', 'latin1')
  header.writeUInt16LE(text.length, 8)
  return Buffer.concat([header, Buffer.from(text), Buffer.from(data.buffer)])
}

/** An NPZ archive without compression. */
export function storedNpz(arrays: Readonly<Record<string, Stored>>): Uint8Array {
  const [files, directory]: [Buffer[], Buffer[]] = [[], []]
  let at = 0
  for (const [key, array] of Object.entries(arrays)) {
    const [name, content] = [Buffer.from(`${key}.npy`), npy(array)]
    const common = Buffer.alloc(26)
    common.writeUInt16LE(20, 0)
    common.writeUInt32LE(crc32(content), 10)
    common.writeUInt32LE(content.length, 14)
    common.writeUInt32LE(content.length, 18)
    common.writeUInt16LE(name.length, 22)
    const local = Buffer.concat([Buffer.from('PK\x03\x04', 'latin1'), common, name, content])
    const offset = Buffer.alloc(14)
    offset.writeUInt32LE(at, 10)
    const central = Buffer.concat([Buffer.from('PK\x01\x02\x14\x00', 'latin1'), common, offset, name])
    files.push(local)
    directory.push(central)
    at += local.length
  }
  const list = Buffer.concat(directory)
  const end = Buffer.alloc(22, 'PK\x05\x06', 'latin1').fill(0, 4)
  end.writeUInt16LE(files.length, 8)
  end.writeUInt16LE(files.length, 10)
  end.writeUInt32LE(list.length, 12)
  end.writeUInt32LE(at, 16)
  return Buffer.concat([...files, list, end])
}
