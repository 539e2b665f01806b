import fc from 'fast-check'
import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import { useBackend } from '../backend'
import { lgamma, normalCdf } from '../numerics/index'
import { graphDraws } from './graph-draws'
import * as random from './index'
import { exponentialFromBits, logFloat } from './transforms'

beforeAll(() => useBackend())

const { key, split, fold } = random

function moments(values: ArrayLike<number>): { mean: number; variance: number; skewness: number; kurtosis: number } {
  const n = values.length
  const mean = (Array.prototype.reduce.call(values, (a, b) => (a as number) + (b as number), 0) as number) / n
  const central = [0, 0, 0]
  for (let i = 0; i < n; i++) {
    const d = values[i] - mean
    central[0] += d * d
    central[1] += d * d * d
    central[2] += d * d * d * d
  }
  const variance = central[0] / n
  return { mean, variance, skewness: central[1] / n / variance ** 1.5, kurtosis: central[2] / n / variance ** 2 }
}

/** Kolmogorov–Smirnov statistic √n sup |F_n - F|; above 1.95 with probability 1e-3. */
function kolmogorov(values: ArrayLike<number>, cdf: (x: number) => number): number {
  const sorted = Float64Array.from(values).sort()
  const n = sorted.length
  let distance = 0
  sorted.forEach((x, i) => {
    const p = cdf(x)
    distance = Math.max(distance, p - i / n, (i + 1) / n - p)
  })
  return distance * Math.sqrt(n)
}

/** (χ² - k) / √(2k), about standard normal for equally likely cells. */
function chiSquareScore(counts: ArrayLike<number>, total: number): number {
  const expected = total / counts.length
  let sum = 0
  for (let i = 0; i < counts.length; i++) sum += (counts[i] - expected) ** 2 / expected
  return (sum - (counts.length - 1)) / Math.sqrt(2 * (counts.length - 1))
}

function correlation(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const x = moments(a)
  const y = moments(b)
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += (a[i] - x.mean) * (b[i] - y.mean)
  return sum / a.length / Math.sqrt(x.variance * y.variance)
}

/** Regularised lower incomplete gamma function by its power series. */
function gammaCdf(alpha: number, x: number): number {
  if (x <= 0) return 0
  let term = Math.exp(alpha * Math.log(x) - x - lgamma(alpha + 1))
  let sum = 0
  for (let k = 1; term > 1e-17 || k < x; k++) {
    sum += term
    term *= x / (alpha + k)
  }
  return Math.min(1, sum)
}

describe('exact values, the same on every machine and in every version', () => {
  const seed = key(42)
  it.each([
    ['bits', () => random.bitsArray(seed, 4)],
    ['uniform', () => random.uniformArray(seed, 4)],
    ['uniform in a range', () => random.uniformArray(seed, 4, { low: -3, high: 0.5 })],
    ['normal', () => random.normalArray(seed, 6)],
    ['normal with mean and deviation', () => random.normalArray(seed, 3, { mean: 0.1, stddev: 0.3 })],
    ['truncated normal', () => random.truncatedNormalArray(seed, 4)],
    ['rademacher', () => random.rademacherArray(seed, 8)],
    ['bernoulli', () => random.bernoulliArray(seed, 8, 0.3)],
    ['gumbel', () => random.gumbelArray(seed, 4)],
    ['categorical', () => random.categoricalArray(seed, [0, 1, 2, 2, 1, 0, -Infinity, 0, 0], 3)],
    ['randint', () => random.randintArray(seed, 6, { low: -5, high: 100 })],
    ['permutation', () => random.permutationArray(seed, 10)],
    ['gamma', () => random.gammaArray(seed, 4, [0.3, 1, 2.5, 100])],
    ['split', () => split(seed, 3).flatMap((child) => child.words)],
    ['fold', () => [0, 1, 2 ** 40].flatMap((index) => fold(seed, index).words)],
  ] as const)('%s', (_name, draw) => {
    expect([...draw()]).toMatchSnapshot()
  })

  it('a hash of long draws', () => {
    const hash = (values: ArrayLike<number> & { buffer: ArrayBuffer }): string => {
      let h = 0x811c9dc5
      for (const word of new Uint32Array(values.buffer)) h = Math.imul(h ^ word, 0x01000193)
      return (h >>> 0).toString(16)
    }
    expect({
      uniform: hash(random.uniformArray(seed, 100_000)),
      normal: hash(random.normalArray(seed, 100_000)),
      truncatedNormal: hash(random.truncatedNormalArray(seed, 100_000, { low: -1, high: 4 })),
      gumbel: hash(random.gumbelArray(seed, 100_000)),
      gamma: hash(random.gammaArray(seed, 20_000, 0.7)),
      permutation: hash(random.permutationArray(seed, 100_000)),
    }).toMatchSnapshot()
  })
})

describe('structure of the streams', () => {
  it('a shorter draw is a prefix of a longer one', () => {
    const draws = [
      random.bitsArray,
      random.uniformArray,
      random.normalArray,
      random.truncatedNormalArray,
      random.rademacherArray,
      random.gumbelArray,
      (k: random.Key, n: number) => random.bernoulliArray(k, n, 0.4),
      (k: random.Key, n: number) => random.randintArray(k, n, { high: 7 }),
      (k: random.Key, n: number) => random.gammaArray(k, n, 0.5),
    ]
    fc.assert(
      fc.property(fc.nat(), fc.nat({ max: 30 }), fc.nat({ max: 30 }), (seed, n, more) => {
        for (const draw of draws) {
          const short = draw(key(seed), n)
          expect(short.length).toBe(n)
          expect([...short]).toEqual([...draw(key(seed), n + more)].slice(0, n))
        }
      }),
      { numRuns: 30 },
    )
  })

  it('tensor draws have the values of the array draws', async () => {
    const k = key(7)
    const pairs: [tf.Tensor, ArrayLike<number>][] = [
      [random.uniform(k, [3, 5], { low: 1, high: 2 }), random.uniformArray(k, 15, { low: 1, high: 2 })],
      [random.normal(k, [3, 5]), random.normalArray(k, 15)],
      [random.truncatedNormal(k, [3, 5], { stddev: 2 }), random.truncatedNormalArray(k, 15, { stddev: 2 })],
      [random.rademacher(k, [3, 5]), random.rademacherArray(k, 15)],
      [random.bernoulli(k, [3, 5], 0.3), random.bernoulliArray(k, 15, 0.3)],
      [random.bernoulli(k, [3, 5], tf.fill([5], 0.3)), random.bernoulliArray(k, 15, 0.3)],
      [random.gumbel(k, [3, 5]), random.gumbelArray(k, 15)],
      [random.randint(k, [3, 5], { high: 10 }), random.randintArray(k, 15, { high: 10 })],
      [random.gamma(k, [3, 5], 2), random.gammaArray(k, 15, 2)],
      [random.gamma(k, [3, 5], tf.tensor2d([[1], [2], [3]])), random.gammaArray(k, 15, [1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3])],
      [random.categorical(k, tf.zeros([3, 5])), random.categoricalArray(k, new Float32Array(15), 5)],
      [random.permutation(k, 15), random.permutationArray(k, 15)],
      [random.bits(k, [15]), new Int32Array(random.bitsArray(k, 15).buffer)],
    ]
    for (const [tensor, array] of pairs) expect([...(await tensor.data())]).toEqual([...Array.from(array)])
    expect(pairs.map(([tensor]) => tensor.dtype)).toEqual([
      ...Array<string>(7).fill('float32'),
      'int32',
      'float32',
      'float32',
      'int32',
      'int32',
      'int32',
    ])
    expect(random.uniform(k, []).shape).toEqual([])
    expect(random.normal(k, [0, 3]).shape).toEqual([0, 3])
  })

  it('leaves no tensor behind but its result', () => {
    const p = tf.scalar(0.5)
    const logits = tf.zeros([2, 3])
    const before = tf.memory().numTensors
    const made = [random.bernoulli(key(0), [4], p), random.gamma(key(0), [4], p), random.categorical(key(0), logits, { samples: 5 })]
    expect(tf.memory().numTensors - before).toBe(made.length)
    expect(made[2].shape).toEqual([5, 2])
  })

  it('fold takes a step counter as a tensor', () => {
    expect(fold(key(3), tf.scalar(17, 'int32'))).toEqual(fold(key(3), 17))
  })

  it('streams of a key, its children and its folds are uncorrelated', () => {
    const n = 20_000
    const parent = key(5)
    const streams = [parent, ...split(parent, 3), fold(parent, 0), fold(parent, 1), fold(fold(parent, 0), 0), key(6)].map((k) =>
      random.normalArray(k, n),
    )
    for (let i = 0; i < streams.length; i++) {
      for (let j = 0; j < i; j++) expect(Math.abs(correlation(streams[i], streams[j])) * Math.sqrt(n)).toBeLessThan(4)
    }
    const normals = streams[0]
    for (const lag of [1, 2, 3]) expect(Math.abs(correlation(normals.slice(lag), normals.slice(0, n - lag))) * Math.sqrt(n)).toBeLessThan(4)
    // The two normals of a pair share their radius only through independence: their squares are uncorrelated too.
    const squares = normals.map((z) => z * z)
    expect(
      Math.abs(
        correlation(
          squares.filter((_, i) => i % 2 === 0),
          squares.filter((_, i) => i % 2 === 1),
        ),
      ) * Math.sqrt(n / 2),
    ).toBeLessThan(4)
  })

  it('first draws over consecutive seeds look random as well', () => {
    const values = Float32Array.from({ length: 20_000 }, (_, seed) => random.uniformArray(key(seed), 1)[0])
    expect(kolmogorov(values, (x) => x)).toBeLessThan(1.95)
  })
})

describe('distributions', () => {
  const n = 200_000

  it('bits: every bit and every byte is fair', () => {
    const words = random.bitsArray(key(1), n)
    for (let bit = 0; bit < 32; bit++) {
      const ones = words.reduce((sum, word) => sum + ((word >>> bit) & 1), 0)
      expect(Math.abs(ones - n / 2) / Math.sqrt(n / 4)).toBeLessThan(4)
    }
    const counts = new Float64Array(256)
    for (const byte of new Uint8Array(words.buffer)) counts[byte]++
    expect(Math.abs(chiSquareScore(counts, 4 * n))).toBeLessThan(4)
  })

  it('uniform', () => {
    const u = random.uniformArray(key(2), n)
    expect(kolmogorov(u, (x) => x)).toBeLessThan(1.95)
    const { mean, variance } = moments(u)
    expect(Math.abs(mean - 0.5) * Math.sqrt(12 * n)).toBeLessThan(4)
    expect(Math.abs(variance - 1 / 12) * Math.sqrt(180 * n)).toBeLessThan(4)
    expect(u.every((x) => x >= 0 && x < 1)).toBe(true)
    const range = random.uniformArray(key(2), n, { low: 5, high: 5.00001 })
    expect(range.every((x) => x >= 5 && x < Math.fround(5.00001))).toBe(true)
  })

  it('normal: moments to the fourth, distribution and tails', () => {
    const z = random.normalArray(key(3), 1_000_000)
    const { mean, variance, skewness, kurtosis } = moments(z)
    expect(Math.abs(mean) * 1000).toBeLessThan(4)
    expect(Math.abs(variance - 1) * 1000).toBeLessThan(4 * Math.SQRT2)
    expect(Math.abs(skewness) * 1000).toBeLessThan(4 * Math.sqrt(6))
    expect(Math.abs(kurtosis - 3) * 1000).toBeLessThan(4 * Math.sqrt(24))
    expect(kolmogorov(z.subarray(0, n), normalCdf)).toBeLessThan(1.95)
    const beyond = z.filter((x) => Math.abs(x) > 4).length
    expect(Math.abs(beyond - 63.3) / Math.sqrt(63.3)).toBeLessThan(4)
  })

  it('normal: mean and deviation', () => {
    const z = random.normalArray(key(3), 1000)
    expect([...random.normalArray(key(3), 1000, { mean: 5, stddev: 2 })]).toEqual([...z].map((x) => Math.fround(5 + Math.fround(2 * x))))
  })

  it.each([
    [-2, 2],
    [-1, 4],
    [1.5, Infinity],
    [6, 7],
    [-Infinity, -9],
  ])('truncated normal on [%f, %f]', (low, high) => {
    const x = random.truncatedNormalArray(key(4), n, { low, high })
    expect(x.every((value) => value >= Math.fround(low) && value <= Math.fround(high))).toBe(true)
    // In the lower tail, where Φ is precise.
    const [a, b, sign] = low > 0 ? [-high, -low, -1] : [low, high, 1]
    const cdf = (value: number): number => (normalCdf(value) - normalCdf(a)) / (normalCdf(b) - normalCdf(a))
    expect(
      kolmogorov(
        [...x].map((value) => sign * value),
        cdf,
      ),
    ).toBeLessThan(1.95)
  })

  it('rademacher and bernoulli', () => {
    expect(Math.abs(moments(random.rademacherArray(key(5), n)).mean) * Math.sqrt(n)).toBeLessThan(4)
    expect(new Set(random.rademacherArray(key(5), 100))).toEqual(new Set([-1, 1]))
    for (const p of [0.001, 0.3, 0.9]) {
      expect(Math.abs(moments(random.bernoulliArray(key(6), n, p)).mean - p) / Math.sqrt((p * (1 - p)) / n)).toBeLessThan(4)
    }
    expect(random.bernoulliArray(key(6), n, 0).every((x) => x === 0)).toBe(true)
    expect(random.bernoulliArray(key(6), n, 1).every((x) => x === 1)).toBe(true)
  })

  it('gumbel', () => {
    const g = random.gumbelArray(key(7), n)
    expect(kolmogorov(g, (x) => Math.exp(-Math.exp(-x)))).toBeLessThan(1.95)
    const { mean, variance } = moments(g)
    expect(Math.abs(mean - 0.5772156649) * Math.sqrt((6 * n) / Math.PI ** 2)).toBeLessThan(4)
    expect(Math.abs(variance - Math.PI ** 2 / 6)).toBeLessThan(0.03)
  })

  it('categorical', async () => {
    const p = [0.5, 0.2, 0, 0.05, 0.25]
    const draws = await random.categorical(key(8), tf.log(tf.tensor1d(p)), { samples: n }).data()
    const counts = new Float64Array(5)
    for (const value of draws) counts[value]++
    expect(counts[2]).toBe(0)
    p.forEach((probability, i) => expect(Math.abs(counts[i] - n * probability)).toBeLessThan(4.5 * Math.sqrt(n * probability) + 1e-9))
  })

  it('randint', () => {
    const counts = new Float64Array(7)
    for (const value of random.randintArray(key(9), n, { low: -3, high: 4 })) counts[value + 3]++
    expect(Math.abs(chiSquareScore(counts, n))).toBeLessThan(4)
    expect(kolmogorov(random.randintArray(key(9), n, { low: -(2 ** 31), high: 2 ** 31 }), (x) => (x + 2 ** 31) / 2 ** 32)).toBeLessThan(
      1.95,
    )
    expect(new Set(random.randintArray(key(9), 1000, { low: 5, high: 6 }))).toEqual(new Set([5]))
  })

  it('randint is the exact high part of a 64-bit product', () => {
    fc.assert(
      fc.property(fc.nat(), fc.integer({ min: 1, max: 2 ** 32 }), (seed, span) => {
        const k = key(seed)
        const [upper, lower] = random.bitsArray(k, 2)
        const expected = ((((BigInt(upper) << 32n) | BigInt(lower)) * BigInt(span)) >> 64n) - 2n ** 31n
        expect(BigInt(random.randintArray(k, 1, { low: -(2 ** 31), high: span - 2 ** 31 })[0])).toBe(expected)
      }),
      { numRuns: 500 },
    )
  })

  it('permutation: every order of 4 equally often, and a permutation at any length', () => {
    const counts = new Map<string, number>()
    const total = 24_000
    for (let i = 0; i < total; i++) {
      const order = random.permutationArray(fold(key(10), i), 4).join('')
      counts.set(order, (counts.get(order) ?? 0) + 1)
    }
    expect(counts.size).toBe(24)
    expect(Math.abs(chiSquareScore([...counts.values()], total))).toBeLessThan(4)
    for (const length of [0, 1, 2, 64, 65, 1000, 70_000]) {
      const order = random.permutationArray(key(11), length)
      expect([...Int32Array.from(order).sort()]).toEqual(Array.from({ length }, (_, i) => i))
    }
    const long = random.permutationArray(key(11), 70_000)
    expect(
      Math.abs(
        correlation(
          long,
          Int32Array.from(long, (_, i) => i),
        ),
      ) * Math.sqrt(70_000),
    ).toBeLessThan(4)
  })

  it('permutation is the order of 64-bit integers', () => {
    const words = random.bitsArray(key(12), 2000)
    const values = Array.from({ length: 1000 }, (_, i) => (BigInt(words[2 * i]) << 32n) | BigInt(words[2 * i + 1]))
    const expected = values.map((_, i) => i).sort((a, b) => (values[a] < values[b] ? -1 : 1))
    expect([...random.permutationArray(key(12), 1000)]).toEqual(expected)
  })

  it.each([0.2, 0.9, 1, 3.7, 50])('gamma of shape %f', (alpha) => {
    const count = 50_000
    const x = random.gammaArray(key(13), count, alpha)
    expect(kolmogorov(x, (value) => gammaCdf(alpha, value))).toBeLessThan(1.95)
    const { mean, variance } = moments(x)
    expect(Math.abs(mean - alpha) / Math.sqrt(alpha / count)).toBeLessThan(4)
    expect(Math.abs(variance / alpha - 1)).toBeLessThan(0.02 * (2 + 3 / Math.sqrt(alpha)))
  })
})

describe('transforms', () => {
  it('the float32 logarithm is right to 1.5 ulp', () => {
    fc.assert(
      fc.property(fc.float({ min: Math.fround(1e-37), max: Math.fround(1e38), noNaN: true, noDefaultInfinity: true }), (x) => {
        expect(Math.abs(logFloat(x) - Math.log(x))).toBeLessThanOrEqual(9e-8 * Math.abs(Math.log(x)) + 2e-45)
      }),
      { numRuns: 2000 },
    )
  })

  it('exponentials are precise at both ends', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.integer(), fc.integer({ min: -1000, max: 1000 }), fc.integer({ min: 0x4a000000, max: 0x62000000 })),
        (bits) => {
          const expected = -Math.log1p(-((~bits >>> 0) + 0.5) * 2 ** -32)
          expect(Math.abs(exponentialFromBits(bits) - expected) / expected).toBeLessThan(2e-7)
        },
      ),
      { numRuns: 2000 },
    )
  })

  it('normals and gumbels are what Math.log and Math.cos give, to float32 rounding', () => {
    const words = random.bitsArray(key(14), 2000)
    const z = random.normalArray(key(14), 2000)
    const g = random.gumbelArray(key(14), 2000)
    for (let i = 0; i < 2000; i += 2) {
      const radius = Math.sqrt(-2 * Math.log((words[i] + 0.5) * 2 ** -32))
      // The top two bits are the quarter turn, the others a signed place of ±½ quarters in it.
      const angle = (Math.PI / 2) * ((words[i + 1] >>> 30) + (words[i + 1] << 2) * 2 ** -32)
      expect(Math.abs(z[i] - radius * Math.cos(angle))).toBeLessThan(6e-7)
      expect(Math.abs(z[i + 1] - radius * Math.sin(angle))).toBeLessThan(6e-7)
      expect(Math.abs(g[i] + Math.log(-Math.log((words[i] + 0.5) * 2 ** -32)))).toBeLessThan(2e-6)
    }
  })

  it.each(['cpu', 'wasm'] as const)(
    'float32 tensor operations on %s compute the same normals and gumbels, bit for bit',
    async (backend) => {
      await useBackend(backend)
      const n = 5000
      const words = random.bitsArray(key(15), 2 * n)
      // The words that a graph would compute, from the host.
      const pairs = (of: (word: number) => number): tf.Tensor => tf.tensor2d(Int32Array.from(words, of), [n, 2], 'int32')
      const randomWords = () => ({
        bits: pairs((word) => word | 0),
        high: pairs((word) => word >>> 16),
        low: pairs((word) => word & 0xffff),
      })
      const draws = graphDraws({ randomWords }, tf.zeros([2], 'int32'))
      expect(await draws.normal(2 * n).data()).toEqual(random.normalArray(key(15), 2 * n))
      expect(await draws.gumbel(2 * n).data()).toEqual(random.gumbelArray(key(15), 2 * n))
      await useBackend('cpu')
    },
  )
})

describe('errors say what was expected', () => {
  const k = key(0)
  it.each([
    [() => random.key(-1), 'random.key: expected a non-negative integer seed'],
    [() => random.uniform(0 as unknown as random.Key, [2]), 'random.uniform: expected a key, got number'],
    [() => random.split(k, 1.5), 'random.split: expected a non-negative integer number of keys'],
    [() => random.fold(k, -1), 'random.fold: expected a non-negative integer index'],
    [() => random.fold(k, tf.zeros([2], 'int32')), 'random.fold: expected an index of one value'],
    [() => random.normal(k, [2, -1]), 'random.normal: expected a shape'],
    [() => random.normal(k, [2], { stddev: -1 }), 'random.normal: stddev must be'],
    [() => random.normalArray(k, 2, { mean: NaN }), 'random.normal: mean must be'],
    [() => random.uniform(k, [2], { low: 1, high: 1 }), 'random.uniform: expected low < high'],
    [() => random.truncatedNormal(k, [2], { low: 2, high: 1 }), 'random.truncatedNormal: expected low < high'],
    [() => random.truncatedNormal(k, [2], { low: 40, high: 41 }), 'too far from 0'],
    [() => random.bernoulli(k, [2], 1.2), 'random.bernoulli: p must be a probability'],
    [() => random.bernoulli(k, [2], NaN), 'random.bernoulli: p must be a probability'],
    [() => random.bernoulli(k, [2], tf.zeros([3])), 'random.bernoulli: p of shape [3] does not broadcast to [2]'],
    [() => random.gamma(k, [2], 0), 'random.gamma: alpha must be positive'],
    [() => random.gamma(k, [2], tf.tensor1d([1, -1])), 'random.gamma: alpha must be positive'],
    [() => random.gammaArray(k, 2, [1]), 'random.gamma: expected one alpha or 2'],
    [() => random.randint(k, [2], { high: 0 }), 'random.randint: expected integers low < high'],
    [() => random.categorical(k, tf.scalar(1)), 'random.categorical: expected logits'],
    [() => random.categoricalArray(k, [1, 2, 3], 2), 'random.categorical: expected rows of 2 logits'],
    [() => random.permutation(k, -1), 'random.permutation: expected a non-negative integer count'],
  ])('%s', (call, message) => {
    expect(call).toThrow(message)
  })
})
