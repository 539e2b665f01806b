import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { key } from '@bpf/core/random'
import { sampleEpisode } from '@bpf/fewshot'
import { openData } from './open'
import { alphabetRows, readOmniglot } from './omniglot'

const folder = mkdtempSync(join(tmpdir(), 'bpf-omniglot-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

// Two 4 × 4 PNG drawings, one-bit: a black dot on white, and white alone.
const archive = Buffer.from(
  [
    'UEsDBBQAAAAAAEJmeV2VGi+FYQAAAGEAAAAjAAAAc21hbGwvR3JlZWsvY2hhcmFjdGVyMDEvMDM5NF8wMS5wbmeJUE5HDQoaCgAAAA1JSERSAAAABAAAAAQI',
    'AgAAACaTCSkAAAAJcEhZcwAAA+gAAAPoAbV7UmsAAAATSURBVAiZY/iPBBhAGAywceAAAKS5I92dhKamAAAAAElFTkSuQmCCUEsDBBQAAAAAAEJmeV1ddZjm',
    'XQAAAF0AAAAjAAAAc21hbGwvTGF0aW4vY2hhcmFjdGVyMDIvMDcwMF8wMS5wbmeJUE5HDQoaCgAAAA1JSERSAAAABAAAAAQIAgAAACaTCSkAAAAJcEhZcwAA',
    'A+gAAAPoAbV7UmsAAAAPSURBVAiZY/iPBBiI4wAA25Av0ey6BHMAAAAASUVORK5CYIJQSwECFAAUAAAAAABCZnldlRovhWEAAABhAAAAIwAAAAAAAAAAAAAA',
    'AAAAAAAAc21hbGwvR3JlZWsvY2hhcmFjdGVyMDEvMDM5NF8wMS5wbmdQSwECFAAUAAAAAABCZnldXXWY5l0AAABdAAAAIwAAAAAAAAAAAAAAAACiAAAAc21h',
    'bGwvTGF0aW4vY2hhcmFjdGVyMDIvMDcwMF8wMS5wbmdQSwUGAAAAAAIAAgCiAAAAQAEAAAAA',
  ].join(''),
  'base64',
)
const bytes = (name: string, content: Uint8Array): string => {
  const path = join(folder, name)
  writeFileSync(path, content)
  return path
}

describe('readOmniglot', () => {
  it('gives ink 255 on 28 × 28 pixels, a class for each character, and a drawing once', async () => {
    const path = bytes('images_background_small1.zip', archive)
    const set = await readOmniglot([path, bytes('again.zip', archive)])
    expect([set.count, set.height, set.width]).toEqual([2, 28, 28])
    expect(set.classNames).toEqual(['Greek/character01', 'Latin/character02'])
    expect([...set.labels]).toEqual([0, 1])
    expect(Math.max(...set.images.subarray(0, 784))).toBeGreaterThan(200)
    expect(Math.max(...set.images.subarray(784))).toBe(0)
  })

  it('names archive and place when it is damaged', async () => {
    const short = bytes('short.zip', archive.subarray(0, 100))
    await expect(readOmniglot([short])).rejects.toThrow(`${short}: byte 100: expected a zip end record before here`)
    const flipped = Uint8Array.from(archive)
    flipped[70] ^= 255
    await expect(readOmniglot([bytes('flipped.zip', flipped)])).rejects.toThrow(/flipped\.zip .*Greek\/character01\/0394_01\.png/)
  })

  const data = process.env.BPF_DATA_DIR
  const isHere = data !== undefined && existsSync(join(data, 'omniglot-small'))
  it.runIf(isHere)('splits the published sets by alphabet into classes for episodes', async () => {
    const set = await openData({ env: process.env, cwd: folder }).load('omniglot-small')
    expect([set.count, set.classNames.length]).toEqual([4840, 242])
    const novel = alphabetRows(set, ['Sanskrit', 'Tagalog'])
    const labels = Int32Array.from(novel, (row) => set.labels[row])
    expect(new Set(labels).size * 20).toBe(novel.length)
    const episode = sampleEpisode(key(1), labels, { ways: 5, shots: 5, queries: 15 })
    expect(episode.query).toHaveLength(75)
    expect(() => alphabetRows(set, ['Klingon'])).toThrow(/no alphabet 'Klingon'; there are Balinese, /)
  })
})
