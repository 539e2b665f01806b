import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { zipSync } from 'fflate'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { isBpfError } from '../errors'
import { numpyFiles } from '../data/__fixtures__/numpy-files'
import { readCifar10, readCifar100, readCsv, readIdx, readImageArchive, readImageFolder, readNpy, readNpz } from './index'

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

describe('readImageArchive', () => {
  const square = (grey: number, size = 3): Promise<Buffer> =>
    sharp({ create: { width: size, height: size, channels: 3, background: { r: grey, g: grey, b: grey } } })
      .png()
      .toBuffer()
  const archive = async (files: Record<string, Uint8Array>): Promise<Uint8Array> => Promise.resolve(zipSync(files, { level: 0 }))

  it('reads images by folder, below a folder that holds all, and resizes', async () => {
    const files = {
      'set/Greek/character02/b.png': await square(200),
      'set/Greek/character01/a.png': await square(10),
      'set/Latin/character01/c.png': await square(90),
      'set/readme.txt': Uint8Array.of(1),
      'set/Latin/character01/.hidden.png': Uint8Array.of(1),
    }
    const path = await write('characters.zip', await archive(files))
    const { images, labels, classes, files: names } = await readImageArchive(path, { channels: 1 })
    expect(classes).toEqual(['Greek/character01', 'Greek/character02', 'Latin/character01'])
    expect([...labels.data]).toEqual([0, 1, 2])
    expect([images.shape, images.data[0], images.data[9], images.data[18]]).toEqual([[3, 3, 3, 1], 10, 200, 90])
    expect(names[0]).toBe('set/Greek/character01/a.png')
    expect((await readImageArchive(path, { size: [2, 4] })).images.shape).toEqual([3, 2, 4, 3])
  })

  it('names archive, image and place of what is wrong', async () => {
    const good = await archive({ 'a/1.png': await square(1), 'b/2.png': await square(2) })
    const short = await write('short.zip', good.subarray(0, 60))
    await expect(readImageArchive(short)).rejects.toThrow(`${short}: byte 60: expected a zip end record before here`)
    const flipped = Uint8Array.from(good)
    flipped[70] ^= 255
    const damaged = await write('damaged.zip', flipped)
    await expect(readImageArchive(damaged)).rejects.toThrow(/damaged\.zip \(a\/1\.png\): byte 37: .*the file is damaged/)
    const text = await write('text.zip', await archive({ 'a/1.png': Uint8Array.of(1, 2, 3) }))
    await expect(readImageArchive(text)).rejects.toThrow(/text\.zip \(a\/1\.png\): expected a whole PNG or JPEG image/)
    const sizes = await write('sizes.zip', await archive({ 'a/1.png': await square(1), 'b/2.png': await square(2, 4) }))
    await expect(readImageArchive(sizes)).rejects.toThrow(/sizes\.zip \(b\/2\.png\): expected 3×3 pixels like a\/1\.png, got 4×4/)
    const loose = await write('loose.zip', await archive({ '1.png': await square(1) }))
    await expect(readImageArchive(loose)).rejects.toThrow(/loose\.zip \(1\.png\): expected an image in the folder of its class/)
    const none = await write('none.zip', await archive({ 'a.txt': Uint8Array.of(1) }))
    await expect(readImageArchive(none)).rejects.toThrow(/none\.zip: expected PNG or JPEG images/)
    await expect(readImageArchive(text, { load: () => Promise.reject(new Error('gone')) })).rejects.toThrow(/npm i sharp/)
  })
})
