import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { gzipSync } from 'node:zlib'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { isBpfError } from '../errors'
import { numpyFiles } from '../data/__fixtures__/numpy-files'
import { readCifar10, readCifar100, readCsv, readIdx, readImageFolder, readNpy, readNpz } from './index'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bpf-'))
})
afterAll(() => rm(folder, { recursive: true }))

async function write(name: string, bytes: Uint8Array | string): Promise<string> {
  const path = join(folder, name)
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, bytes)
  return path
}

describe('file readers', () => {
  it('read each format and name the file in errors', async () => {
    const labels = Uint8Array.of(0, 0, 8, 1, 0, 0, 0, 2, 7, 9)
    expect([...(await readIdx(await write('labels.gz', gzipSync(labels)))).data]).toEqual([7, 9])
    const damaged = await write('short', labels.subarray(0, 9))
    await expect(readIdx(damaged)).rejects.toThrow(`${damaged}: byte 8: expected 2 bytes`)
    const record = new Uint8Array(3073).fill(3)
    const { images, labels: classes } = await readCifar10([await write('a.bin', record), await write('b.bin', record)])
    expect([images.shape, [...classes.data]]).toEqual([
      [2, 32, 32, 3],
      [3, 3],
    ])
    expect((await readCifar100(await write('c.bin', new Uint8Array(3074)))).coarseLabels.shape).toEqual([1])
    expect((await readCsv(await write('t.csv', 'a\n1'), { columns: { a: 'numeric' } })).size).toBe(1)
    expect((await readNpy(await write('x.npy', Buffer.from(numpyFiles.vector, 'base64')))).shape).toEqual([2])
    expect((await readNpz(await write('x.npz', Buffer.from(numpyFiles.npz, 'base64')))).size).toBe(2)
    await expect(readCifar10([])).rejects.toThrow(/at least one path/)
    await expect(readNpy(join(folder, 'none.npy'))).rejects.toThrow(/^cannot read .*none.npy: there is no such file/)
  })

  it('reads 60,000 gzipped images within seconds', async () => {
    const header = [0, 0, 8, 3, 0, 0, 0xea, 0x60, 0, 0, 0, 28, 0, 0, 0, 28]
    const file = new Uint8Array(16 + 60_000 * 784)
    for (let i = 16; i < file.length; i++) file[i] = (i * 2654435761) >>> 27
    file.set(header)
    const path = await write('images.gz', gzipSync(file, { level: 1 }))
    const start = performance.now()
    const { data, shape } = await readIdx(path)
    expect(performance.now() - start).toBeLessThan(5000)
    expect(shape).toEqual([60_000, 28, 28])
    expect(data[1234567]).toBe(file[16 + 1234567])
  })
})

describe('readImageFolder', () => {
  async function image(
    name: string,
    size: number,
    format: 'png' | 'jpeg',
    colour: { r: number; g: number; b: number; alpha?: number },
  ): Promise<string> {
    const channels = colour.alpha === undefined ? 3 : 4
    return write(
      name,
      await sharp({ create: { width: size, height: size, channels, background: colour } })
        .toFormat(format)
        .toBuffer(),
    )
  }

  it('reads a class per subfolder, in order', async () => {
    await image('pets/dog/b.png', 4, 'png', { r: 1, g: 2, b: 3, alpha: 0.5 })
    await image('pets/cat/a.JPG', 4, 'jpeg', { r: 100, g: 100, b: 100 })
    await image('pets/dog/a.png', 4, 'png', { r: 250, g: 0, b: 0 })
    await write('pets/dog/readme.txt', 'not an image')
    const { images, labels, classes, files } = await readImageFolder(join(folder, 'pets'))
    expect(classes).toEqual(['cat', 'dog'])
    expect([...labels.data]).toEqual([0, 1, 1])
    expect(files.map((file) => file.slice(folder.length))).toEqual(['/pets/cat/a.JPG', '/pets/dog/a.png', '/pets/dog/b.png'])
    expect(images.shape).toEqual([3, 4, 4, 3])
    expect([...images.data.slice(48, 51)]).toEqual([250, 0, 0])
    expect([...images.data.slice(96, 99)]).toEqual([1, 2, 3])
    const grey = await readImageFolder(join(folder, 'pets'), { channels: 1, size: [2, 3] })
    expect(grey.images.shape).toEqual([3, 2, 3, 1])
    expect(grey.images.data[0]).toBe(100)
  })

  it('reads grey, 16-bit and palette images like others', async () => {
    const grey = sharp(Buffer.from([0, 128, 128, 255]), { raw: { width: 2, height: 2, channels: 1 } })
    await write('kinds/x/a.png', await grey.clone().toColourspace('b-w').png().toBuffer())
    await write('kinds/x/b.png', await grey.clone().toColourspace('rgb16').png().toBuffer())
    await write('kinds/x/c.png', await grey.clone().png({ palette: true }).toBuffer())
    const { images } = await readImageFolder(join(folder, 'kinds'))
    const expected = [0, 0, 0, 128, 128, 128, 128, 128, 128, 255, 255, 255]
    for (const i of [0, 1, 2])
      for (const [j, value] of expected.entries()) expect(Math.abs(images.data[12 * i + j] - value)).toBeLessThanOrEqual(1)
  })

  it('names a damaged image, another size, an empty class, a missing folder', async () => {
    const whole = await sharp({ create: { width: 64, height: 64, channels: 3, background: 'red' } })
      .png()
      .toBuffer()
    const damaged = await write('bad/x/a.png', whole.subarray(0, whole.length - 30))
    await expect(readImageFolder(join(folder, 'bad'))).rejects.toThrow(`${damaged}: expected a whole PNG or JPEG image`)
    await image('sizes/x/a.png', 4, 'png', { r: 0, g: 0, b: 0 })
    const other = await image('sizes/x/b.png', 5, 'png', { r: 0, g: 0, b: 0 })
    await expect(readImageFolder(join(folder, 'sizes'))).rejects.toThrow(`${other}: expected 4×4 pixels like`)
    await write('empty/x/readme.txt', '')
    await expect(readImageFolder(join(folder, 'empty'))).rejects.toThrow(/expected PNG or JPEG images of class 'x', got none/)
    await expect(readImageFolder(join(folder, 'nowhere'))).rejects.toThrow(/cannot read the folder .*nowhere/)
    await expect(readImageFolder(join(folder, 'sizes', 'x'))).rejects.toThrow(/expected one subfolder of images per class/)
    await expect(readImageFolder(folder, { size: [0, 1] })).rejects.toThrow(/size must be \[height, width\]/)
  })

  it('never fails with anything but a DataError, whatever the bytes', async () => {
    const whole = await sharp({ create: { width: 16, height: 16, channels: 3, background: 'red' } })
      .png()
      .toBuffer()
    for (let i = 0; i < whole.length; i += 3) {
      const bytes = Uint8Array.from(whole)
      bytes[i] ^= 0xff
      await write('fuzz/x/a.png', i % 2 === 0 ? bytes : whole.subarray(0, i))
      await readImageFolder(join(folder, 'fuzz')).catch((error: unknown) => {
        if (!isBpfError(error, 'DataError')) throw error
      })
    }
  })

  it('says how to get sharp', async () => {
    const load = (): Promise<never> => Promise.reject(new Error('Cannot find package'))
    await expect(readImageFolder(folder, { load })).rejects.toThrow(/needs the package sharp; install it: npm i sharp/)
  })
})
