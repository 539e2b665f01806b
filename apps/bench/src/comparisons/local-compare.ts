/**
 * All methods of @bpf/local side by side: one perceptron and one convolutional network, the same images, the same budget
 * (every layer sees the data the same number of times), the same number of learning rates tried; and what the methods are
 * for: memory that does not grow with depth, blocks that train in parallel.
 */
import type { Key } from '@bpf/core'
import { fold } from '@bpf/core/random'
import { atLeast, atMost, equals } from '../claims'
import { imageSets, slice, type ImageSet } from '../data/image-sets'
import type { Paper, PaperResults, RunContext, SeedResult } from '../paper'
import { depthMemory, depthMethods } from './depth-memory'
import { measureIndependence } from './independence'
import { batchSize, convolutional, oneHiddenLayer, perceptrons, type CompareSettings, type Contender, type Sets } from './local-contenders'

/** The three views of the images that contenders take. */
async function readSets(context: RunContext<CompareSettings>): Promise<Record<Contender['data'], Sets>> {
  const { train, validation, test } = context.settings
  const read = async (options: Partial<Parameters<typeof imageSets>[1]>, change = (set: ImageSet): ImageSet => set): Promise<Sets> => {
    const sets = await imageSets(context.data, { train: train + validation, test, ...options })
    const all = change(sets.train)
    const count = all.y.length
    // Where fewer images are there than asked for, a tenth stays to choose by.
    const held = count < train + validation ? Math.floor(count / 10) : validation
    return { train: slice(all, 0, count - held), validation: slice(all, count - held, count), test: change(sets.test) }
  }
  const standard = { mean: 0.286, stddev: 0.353 }
  return {
    perceptron: await read({ flatten: true, ...standard }),
    unit: await read({ flatten: true }),
    pooled: await read({ pool: 4, flatten: true, ...standard }),
    images: await read({ pool: 2, ...standard }, rimmed),
  }
}

/** One pixel of background more on every side, so that sizes halve evenly. */
function rimmed({ x, y, classes }: ImageSet): ImageSet {
  const [n, height, width] = x.shape
  const background = x.data.reduce((least, value) => Math.min(least, value), Infinity)
  const data = new Float32Array(n * (height + 2) * (width + 2)).fill(background)
  for (let i = 0; i < n; i++) {
    for (let row = 0; row < height; row++) {
      const from = (i * height + row) * width
      data.set(x.data.subarray(from, from + width), (i * (height + 2) + row + 1) * (width + 2) + 1)
    }
  }
  return { x: { data, shape: [n, height + 2, width + 2, 1] }, y, classes }
}

/** Trains with each learning rate, keeps the one that is best on the validation images, and tests it. */
async function contend(context: RunContext<CompareSettings>, contender: Contender, sets: Sets, key: Key): Promise<Record<string, number>> {
  const { settings, signal } = context
  const epochs = contender.id.startsWith('cnn/') ? settings.convolutionalEpochs : settings.perceptronEpochs
  let best = { validation: -1, values: {} as Record<string, number> }
  for (const rate of contender.untuned === true ? [1] : settings.rates) {
    const begun = performance.now()
    const trained = await contender.train(sets, rate, epochs, key, { reporter: context.reporter(contender.name), signal })
    const seconds = (performance.now() - begun) / 1000
    signal.throwIfAborted()
    const validation = await trained.score(sets.validation)
    if (validation > best.validation) {
      const counted = trained.cost && { activationBytes: trained.cost.activationBytes, multiplyAdds: trained.cost.multiplyAdds / batchSize }
      best = { validation, values: { accuracy: await trained.score(sets.test), seconds, rate, ...counted } }
    }
    trained.dispose()
  }
  return best.values
}

function shared(values: Float32Array | Int32Array): SharedArrayBuffer {
  const buffer = new SharedArrayBuffer(values.byteLength)
  new Uint8Array(buffer).set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
  return buffer
}

async function run(context: RunContext<CompareSettings>): Promise<SeedResult> {
  const { settings, key, signal, onlyClaims } = context
  const sets = await readSets(context)
  const values: Record<string, number> = {}
  const contenders = [...perceptrons, ...(onlyClaims ? [] : oneHiddenLayer(settings)), ...convolutional]
  for (const [i, contender] of contenders.entries()) {
    const measured = await context.part(contender.id, () => contend(context, contender, sets[contender.data], fold(key, i)))
    for (const [name, value] of Object.entries(measured)) values[`${contender.id}/${name}`] = value
  }
  if (context.seed === 0) {
    for (const [name, value] of Object.entries(depthMemory())) values[name] = value
    const { x, y, classes } = sets.perceptron.train
    const independence = await context.part('independence', () =>
      measureIndependence(
        {
          mine: Array.from({ length: 10 }, (_, block) => block),
          steps: 10,
          seed: context.seed,
          batches: settings.parallelSteps,
          batchSize: 128,
          classes,
          x: new Float32Array(shared(x.data)),
          y: new Int32Array(shared(y)),
        },
        2,
        signal,
      ),
    )
    for (const [name, value] of Object.entries(independence)) values[`independence/${name}`] = value
  }
  return { values }
}

const all = (settings: CompareSettings): readonly Contender[] => [...perceptrons, ...oneHiddenLayer(settings), ...convolutional]

function rowsOf(results: PaperResults, prefix: string) {
  return all(embedded)
    .filter(({ id }) => id.startsWith(prefix) && results.has(`${id}/accuracy`))
    .map(({ id, name, note }) => {
      const cell = (quantity: string, scale = 1) => {
        if (!results.has(`${id}/${quantity}`)) return null
        const { mean, spread } = results.summary(`${id}/${quantity}`)
        return { mean: mean * scale, spread: spread * scale }
      }
      return {
        method: name,
        accuracy: cell('accuracy', 100),
        seconds: cell('seconds'),
        memory: results.has(`${id}/activationBytes`) ? results.mean(`${id}/activationBytes`) / 1024 : null,
        arithmetic: results.has(`${id}/multiplyAdds`) ? results.mean(`${id}/multiplyAdds`) / 1e6 : null,
        note: note ?? '',
      }
    })
}

const columns = [
  { key: 'method', label: 'method' },
  { key: 'accuracy', label: 'accuracy %', digits: 2, better: 'higher' },
  { key: 'seconds', label: 'training s', digits: 1, better: 'lower' },
  { key: 'memory', label: 'activations, KiB an example', digits: 1, better: 'lower' },
  { key: 'arithmetic', label: '10⁶ multiply-adds an example and step', digits: 2, better: 'lower' },
  { key: 'note', label: 'network, where it is another' },
] as const

const quick: CompareSettings = {
  validation: 200,
  train: 800,
  test: 500,
  perceptronEpochs: 2,
  convolutionalEpochs: 1,
  rates: [1],
  boostedUnits: 10,
  convex: { images: 200, patterns: 10, iterations: 20 },
  parallelSteps: 50,
}
const embedded: CompareSettings = {
  validation: 1000,
  train: 9000,
  test: 5000,
  perceptronEpochs: 8,
  convolutionalEpochs: 4,
  rates: [1 / 3, 1, 3],
  boostedUnits: 40,
  convex: { images: 1500, patterns: 40, iterations: 100 },
  parallelSteps: 400,
}

/** The comparison. */
export const paper: Paper<CompareSettings> = {
  slug: 'local-compare',
  title: 'Learning without global backpropagation: all methods on one network and one budget',
  package: '@bpf/local',
  presets: {
    quick: {
      description: '800 images, one learning rate, one or two passes: does everything run?',
      seeds: 1,
      seconds: 60,
      settings: quick,
    },
    embedded: {
      description: '9,000 images of Fashion-MNIST, three learning rates for each method, 8 passes (convolutions 4), 5,000 images to test',
      seeds: 3,
      seconds: 1500,
      settings: embedded,
    },
    full: {
      description: 'all of Fashion-MNIST, 30 passes (convolutions 20)',
      seeds: 3,
      seconds: 40_000,
      settings: {
        ...embedded,
        train: 55_000,
        validation: 5000,
        test: 10_000,
        perceptronEpochs: 30,
        convolutionalEpochs: 20,
        boostedUnits: 100,
      },
    },
  },
  claims: [
    ...depthMethods.map(({ id, name, what, isLocal }) => ({
      id: `memory-${id}`,
      statement: isLocal
        ? `Activation memory of ${name} grows by less than 10 % when ${what} grow fourfold`
        : `Activation memory of ${name} grows when ${what} grow fourfold`,
      check: (results: PaperResults) => {
        const growth = results.mean(`memory/${id}/deep`) / results.mean(`memory/${id}/shallow`)
        return isLocal ? atMost(growth, 1.1) : atLeast(growth, 1.5)
      },
    })),
    {
      id: 'blocks-in-parallel',
      statement: 'Blocks of NoProp-DT trained in two threads are bit-equal to blocks trained in one',
      check: (results) => equals(results.mean('independence/differing'), 0, { of: 'weights that differ' }),
    },
  ],
  run,
  tables(results) {
    const independence = results.has('independence/serialSeconds')
    return [
      { id: 'perceptron', title: 'Perceptron 784-256-256-256-10', columns, rows: rowsOf(results, 'mlp/') },
      { id: 'convolutional', title: 'Convolutional network', columns, rows: rowsOf(results, 'cnn/') },
      {
        id: 'depth',
        title: 'Activation memory as depth grows fourfold',
        columns: [
          { key: 'method', label: 'method' },
          { key: 'what', label: 'what grows' },
          { key: 'shallow', label: 'KiB an example', digits: 2 },
          { key: 'deep', label: 'four times as deep', digits: 2 },
          { key: 'growth', label: 'ratio', digits: 2, better: 'lower' },
        ],
        rows: depthMethods
          .filter(({ id }) => results.has(`memory/${id}/deep`))
          .map(({ id, name, what }) => {
            const [shallow, deep] = [results.mean(`memory/${id}/shallow`), results.mean(`memory/${id}/deep`)]
            return { method: name, what, shallow: shallow / 1024, deep: deep / 1024, growth: deep / shallow }
          }),
        note: 'Counted on the trace of a training step: bytes alive at once that grow with the batch.',
      },
      ...(independence
        ? [
            {
              id: 'independence',
              title: 'Ten blocks of NoProp-DT in one thread and in two, one native thread each',
              columns: [
                { key: 'serial', label: 'one thread, s', digits: 2 },
                { key: 'parallel', label: 'two threads, s', digits: 2 },
                { key: 'speedUp', label: 'speed-up', digits: 2 },
                { key: 'differing', label: 'weights that differ', digits: 0 },
              ],
              rows: [
                {
                  serial: results.mean('independence/serialSeconds'),
                  parallel: results.mean('independence/parallelSeconds'),
                  speedUp: results.mean('independence/serialSeconds') / results.mean('independence/parallelSeconds'),
                  differing: results.mean('independence/differing'),
                },
              ],
            },
          ]
        : []),
    ]
  },
  figures(results) {
    const values = [
      ...rowsOf(results, 'mlp/').map((row) => ({ ...row, network: 'perceptron' })),
      ...rowsOf(results, 'cnn/').map((row) => ({ ...row, network: 'convolutional' })),
    ]
      .filter((row) => row.memory !== null && row.accuracy !== null)
      .map((row) => ({
        method: row.method,
        network: row.network,
        memory: row.memory,
        accuracy: row.accuracy?.mean,
        seconds: row.seconds?.mean,
      }))
    return [
      {
        id: 'accuracy-memory',
        title: 'Accuracy against activation memory',
        caption: 'Up and to the left is better; the size of a point is the training time.',
        spec: {
          data: { values },
          mark: { type: 'point', filled: true },
          encoding: {
            x: { field: 'memory', type: 'quantitative', scale: { type: 'log' }, title: 'activations, KiB an example' },
            y: { field: 'accuracy', type: 'quantitative', scale: { zero: false }, title: 'accuracy %' },
            color: { field: 'method', type: 'nominal', title: 'method' },
            shape: { field: 'network', type: 'nominal', title: 'network' },
            size: { field: 'seconds', type: 'quantitative', title: 'training s' },
          },
        },
      },
    ]
  },
}
