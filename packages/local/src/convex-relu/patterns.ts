/**
 * Activation patterns D = 1[X a ≥ 0]: all of them by the rays of the hyperplane arrangement {a: x_kᵀ a = 0}, or a random
 * sample. For the adversarial programs every draw also gives patterns of perturbed data (Algorithm 4).
 */
import { OptionError, random, type Key } from '@bpf/core'
import { matmul, svd, type Matrix } from '@bpf/core/linalg'
import { checkCount, checkInputs, checkPerturbation, type InputPerturbation } from './checks'

/** Beyond this many patterns the exact program is refused. */
const mostPatterns = 2000
/** |x·a| up to this, relative to ‖x‖‖a‖, counts as zero when rays are computed. */
const onHyperplane = 1e-9

/**
 * The largest number of distinct patterns of n points of rank r, reached in general position: 2 Σ_{k<r} C(n−1, k).
 *
 * @param n - number of points
 * @param r - rank of X
 */
export function activationPatternBound(n: number, r: number): number {
  let [sum, binomial] = [0, 1]
  for (let k = 0; k < Math.min(r, n); k++) {
    sum += binomial
    binomial *= (n - 1 - k) / (k + 1)
  }
  return 2 * sum
}

/**
 * How many random patterns are enough: with P_s ≥ min{(n + 1)/(ψξ) − 1, (2/ξ)(n + 1 − ln ψ)} the chance that one more
 * random pattern improves the optimum is at most ψ, with probability at least 1 − ξ.
 *
 * @throws OptionError unless ψ and ξ are in (0, 1)
 */
export function patternSampleBound(n: number, psi: number, xi: number): number {
  for (const [name, value] of Object.entries({ psi, xi })) {
    if (!(value > 0 && value < 1)) throw new OptionError(`patternSampleBound: ${name} must be in (0, 1), got ${value}`)
  }
  return Math.ceil(Math.min((n + 1) / (psi * xi) - 1, (2 / xi) * (n + 1 - Math.log(psi))))
}

/** Rows of X in an orthonormal basis of their span: [n, r]. */
function inRowSpace(x: Matrix): Matrix {
  const { s, vt } = svd(x)
  const rank = s.findIndex((value) => value <= 1e-10 * s[0])
  const rows = rank < 0 ? s.length : rank
  return matmul(x, { rows, cols: x.cols, data: vt.data.slice(0, rows * x.cols) }, { transposeB: true })
}

/** A unit vector orthogonal to r − 1 rows of R^r, by elimination with full pivoting; undefined when they are dependent. */
function normalOf(rows: readonly (readonly number[])[], r: number): number[] | undefined {
  const a = rows.map((row) => {
    const norm = Math.hypot(...row)
    return row.map((value) => value / (norm || 1))
  })
  const columns = Array.from({ length: r }, (_, j) => j)
  for (let step = 0; step < r - 1; step++) {
    let [pi, pj, best] = [step, step, 0]
    for (let i = step; i < r - 1; i++)
      for (let j = step; j < r; j++) if (Math.abs(a[i][columns[j]]) > best) [pi, pj, best] = [i, j, Math.abs(a[i][columns[j]])]
    if (best < onHyperplane) return undefined
    ;[a[step], a[pi]] = [a[pi], a[step]]
    ;[columns[step], columns[pj]] = [columns[pj], columns[step]]
    for (let i = step + 1; i < r - 1; i++) {
      const factor = a[i][columns[step]] / a[step][columns[step]]
      for (const j of columns) a[i][j] -= factor * a[step][j]
    }
  }
  const normal = new Array<number>(r).fill(0)
  normal[columns[r - 1]] = 1
  for (let step = r - 2; step >= 0; step--) {
    let sum = 0
    for (let j = step + 1; j < r; j++) sum += a[step][columns[j]] * normal[columns[j]]
    normal[columns[step]] = -sum / a[step][columns[step]]
  }
  const norm = Math.hypot(...normal)
  return normal.map((value) => value / norm)
}

/** All subsets of `size` of 0 … n − 1. */
function* subsets(n: number, size: number, from = 0): Generator<number[]> {
  if (size === 0) {
    yield []
    return
  }
  for (let first = from; first <= n - size; first++) for (const rest of subsets(n, size - 1, first + 1)) yield [first, ...rest]
}

const inner = (a: readonly number[], b: readonly number[]): number => a.reduce((sum, value, i) => sum + value * b[i], 0)

/** Coordinates of points in an orthonormal basis of their span, by Gram-Schmidt with pivoting. */
function coordinates(points: readonly (readonly number[])[]): number[][] {
  let rest = points.map((point) => [...point])
  const out = points.map((): number[] => [])
  const norms = points.map((point) => Math.hypot(...point))
  for (;;) {
    const sizes = rest.map((point, i) => Math.hypot(...point) / norms[i])
    const pivot = sizes.indexOf(Math.max(...sizes))
    if (!(sizes[pivot] > onHyperplane)) return out
    const length = Math.hypot(...rest[pivot])
    const direction = rest[pivot].map((value) => value / length)
    rest = rest.map((point, i) => {
      const along = inner(point, direction)
      out[i].push(along)
      return point.map((value, j) => value - along * direction[j])
    })
  }
}

/**
 * Sign patterns (1 for +) of the cells of the central arrangement of non-zero points that span R^r. Each cell has an
 * extreme ray, orthogonal to r − 1 independent points; round a ray the points on its hyperplane take the patterns of
 * their own arrangement, of rank r − 1, and the others keep their sign.
 */
function cellPatterns(points: readonly (readonly number[])[]): Set<string> {
  const n = points.length
  if (n === 0) return new Set([''])
  const r = points[0].length
  const found = new Set<string>()
  const seen = new Set<string>()
  for (const subset of subsets(n, r - 1)) {
    const normal = normalOf(
      subset.map((k) => points[k]),
      r,
    )
    if (normal === undefined) continue
    const heights = points.map((point) => inner(point, normal) / Math.hypot(...point))
    const on = Array.from(points.keys()).filter((k) => Math.abs(heights[k]) <= onHyperplane || subset.includes(k))
    const name = on.join()
    if (r > 1 && seen.has(name)) continue
    seen.add(name)
    const local = cellPatterns(coordinates(on.map((k) => points[k])))
    for (const side of [1, -1]) {
      for (const pattern of local) {
        const signs: string[] = heights.map((height) => (side * height > 0 ? '1' : '0'))
        on.forEach((k, i) => (signs[k] = pattern[i]))
        found.add(signs.join(''))
      }
    }
  }
  return found
}

const toMatrix = (patterns: readonly string[], n: number): Matrix => ({
  rows: patterns.length,
  cols: n,
  data: Float64Array.from(patterns.join(''), Number),
})

/**
 * All activation patterns 1[X a ≥ 0] of full-dimensional cells, a in R^d; the others describe the same functions.
 *
 * @param x - [n, d]
 * @returns D [P, n] of 0 and 1, sorted; P = {@link activationPatternBound} for X in general position
 * @throws OptionError when the bound on their number is above 2000; DataError for an empty X or NaN
 */
export function activationPatterns(x: Matrix): Matrix {
  checkInputs(x, 'activationPatterns')
  const reduced = inRowSpace(x)
  const rank = reduced.cols
  const rows = Array.from({ length: x.rows }, (_, k) => Array.from(reduced.data.subarray(k * rank, (k + 1) * rank)))
  const largest = Math.max(...rows.map((row) => Math.hypot(...row)))
  // A row of zeros is on every hyperplane: 0 ≥ 0 counts as active.
  const moving = Array.from(rows.keys()).filter((k) => Math.hypot(...rows[k]) > 1e-12 * largest)
  const bound = activationPatternBound(moving.length, rank)
  if (bound > mostPatterns) {
    throw new OptionError(
      `activationPatterns: too many activation patterns (up to ${bound}; at most ${mostPatterns}); use sampling: a number of patterns`,
    )
  }
  const cells = cellPatterns(moving.map((k) => rows[k]))
  const whole = Array.from(cells, (cell) => {
    const signs = new Array<string>(x.rows).fill('1')
    moving.forEach((k, i) => (signs[k] = cell[i]))
    return signs.join('')
  })
  return toMatrix([...new Set(whole)].sort().reverse(), x.rows)
}

/** Options of {@link sampleActivationPatterns}. */
export interface PatternSampleOptions {
  /** P_s: stop with this many distinct patterns. Default: no limit but `draws`. */
  count?: number
  /** Vectors a to draw at most. Default 100 · count. */
  draws?: number
  key: Key
  /** Patterns of perturbed data too. */
  perturbation?: InputPerturbation & {
    /** S: patterns per draw of a, the clean one included. Default 6. */
    copies?: number
    /** Number of leading columns of X that are perturbed. Default: all. */
    columns?: number
  }
}

/** Vectors drawn at a time: fixed, so that a larger sample begins with a smaller one. */
const drawBlock = 64

/** X + ε R: R of random signs, or for the l2 ball random unit rows, in the first `columns` columns. */
function perturbed(x: Matrix, { epsilon, norm = 'linf' }: InputPerturbation, columns: number, key: Key): Matrix {
  const { rows: n, cols: d } = x
  const noise = norm === 'linf' ? random.rademacherArray(key, n * columns) : random.normalArray(key, n * columns)
  const data = x.data.slice()
  for (let k = 0; k < n; k++) {
    const row = noise.subarray(k * columns, (k + 1) * columns)
    const scale = norm === 'linf' ? epsilon : epsilon / (Math.hypot(...row) || 1)
    for (let a = 0; a < columns; a++) data[k * d + a] += scale * row[a]
  }
  return { rows: n, cols: d, data }
}

/** 1[X a ≥ 0] as text. */
function patternOf(x: Matrix, a: ArrayLike<number>): string {
  const { rows, cols, data } = x
  let pattern = ''
  for (let k = 0, p = 0; k < rows; k++) {
    let sum = 0
    for (let j = 0; j < cols; j++, p++) sum += data[p] * a[j]
    pattern += sum >= 0 ? '1' : '0'
  }
  return pattern
}

/**
 * Distinct random activation patterns: a_h ~ N(0, I_d), D_h = 1[X a_h ≥ 0], duplicates dropped. With a perturbation each
 * draw also gives S − 1 patterns of X + εR with random R on the surface of the ball (Algorithm 4). Samples are nested: with the same key
 * a smaller count is the beginning of a larger one.
 *
 * @param x - [n, d]
 * @returns D [P, n] in the order of drawing; P is below `count` where `draws` did not find more
 * @throws OptionError for counts that are no positive integers, ε < 0; DataError for an empty X or NaN
 */
export function sampleActivationPatterns(x: Matrix, { count, draws, key, perturbation }: PatternSampleOptions): Matrix {
  const caller = 'sampleActivationPatterns'
  checkInputs(x, caller)
  if (count === undefined && draws === undefined) throw new OptionError(`${caller}: give a count or a number of draws`)
  if (count !== undefined) checkCount(count, 'count', caller)
  if (draws !== undefined) checkCount(draws, 'draws', caller)
  if (perturbation !== undefined) checkPerturbation(perturbation, caller)
  const { copies = 6, columns = x.cols } = perturbation ?? {}
  checkCount(copies, 'copies', caller)
  const wanted = count ?? Infinity
  const most = draws ?? 100 * wanted
  const [vectorKey, noiseKey] = random.split(key)
  const found = new Set<string>()
  let vectors: Float32Array = new Float32Array(0)
  for (let h = 0; h < most && found.size < wanted; h++) {
    const at = h % drawBlock
    if (at === 0) vectors = random.normalArray(random.fold(vectorKey, h / drawBlock), drawBlock * x.cols)
    const a = vectors.subarray(at * x.cols, (at + 1) * x.cols)
    found.add(patternOf(x, a))
    if (perturbation === undefined) continue
    const copyKey = random.fold(noiseKey, h)
    for (let j = 1; j < copies && found.size < wanted; j++) {
      found.add(patternOf(perturbed(x, perturbation, columns, random.fold(copyKey, j)), a))
    }
  }
  return toMatrix([...found], x.rows)
}
