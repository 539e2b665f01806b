import { OptionError } from '../errors'

/** A quadrature rule: ∫ f ≈ Σ weights[i] · f(nodes[i]), nodes ascending. */
export interface Quadrature {
  nodes: Float64Array
  weights: Float64Array
}

function checkOrder(name: string, n: number, least: number, most: number): void {
  if (!Number.isSafeInteger(n) || n < least || n > most) {
    throw new OptionError(`${name}: expected an integer number of nodes from ${least} to ${most}, got ${n}`)
  }
}

/** A rule of an even weight function from its nodes ≥ 0 in descending order and their weights. */
function mirrored(n: number, upper: readonly (readonly [number, number])[]): Quadrature {
  const nodes = new Float64Array(n)
  const weights = new Float64Array(n)
  upper.forEach(([node, weight], i) => {
    nodes[n - 1 - i] = node
    nodes[i] = -node
    weights[n - 1 - i] = weight
    weights[i] = weight
  })
  if (n % 2 === 1) nodes[(n - 1) / 2] = 0
  return { nodes, weights }
}

/**
 * Gauss–Legendre rule on [-1, 1], exact for polynomials up to degree 2n - 1.
 *
 * @param n - number of nodes, 1 to 10000
 * @throws OptionError for another number
 */
export function gaussLegendre(n: number): Quadrature {
  checkOrder('gaussLegendre', n, 1, 10000)
  const upper = Array.from({ length: Math.ceil(n / 2) }, (_, i): [number, number] => {
    const centre = 2 * i + 1 === n
    let x = centre ? 0 : Math.cos((Math.PI * (i + 0.75)) / (n + 0.5))
    let { value, derivative } = legendre(n, x)
    for (let step = 0; step < 4 && !centre; step++) {
      x -= value / derivative
      ;({ value, derivative } = legendre(n, x))
    }
    return [x, 2 / ((1 - x) * (1 + x) * derivative * derivative)]
  })
  return mirrored(n, upper)
}

/** Legendre polynomial P_n and its derivative at |x| < 1. */
function legendre(n: number, x: number): { value: number; derivative: number } {
  let previous = 1
  let value = x
  for (let k = 2; k <= n; k++) {
    const next = ((2 * k - 1) * x * value - (k - 1) * previous) / k
    previous = value
    value = next
  }
  return { value, derivative: (n * (previous - x * value)) / ((1 - x) * (1 + x)) }
}

/**
 * Gauss–Hermite rule: ∫ exp(-x²) f(x) dx over the line, exact for polynomials f up to degree 2n - 1.
 * For a mean under N(μ, σ²) use nodes μ + √2 σ x and weights w / √π.
 *
 * @param n - number of nodes, 1 to 300 (beyond, weights underflow)
 * @throws OptionError for another number
 */
export function gaussHermite(n: number): Quadrature {
  checkOrder('gaussHermite', n, 1, 300)
  const upper = Array.from({ length: Math.ceil(n / 2) }, (_, i): [number, number] => {
    let x = 2 * i + 1 === n ? 0 : nthLargestRoot(n, i)
    for (let step = 0; step < 2 && x !== 0; step++) {
      const { value, previous } = hermite(n, x)
      x -= value / (Math.sqrt(2 * n) * previous)
    }
    return [x, 1 / hermite(n, x).christoffel]
  })
  return mirrored(n, upper)
}

/** Orthonormal Hermite polynomials h_n, h_{n-1} at x, and Σ_{k<n} h_k², whose inverse is the weight at a node. */
function hermite(n: number, x: number): { value: number; previous: number; christoffel: number } {
  let previous = 0
  let value = Math.PI ** -0.25
  let christoffel = 0
  for (let k = 0; k < n; k++) {
    christoffel += value * value
    const next = x * Math.sqrt(2 / (k + 1)) * value - Math.sqrt(k / (k + 1)) * previous
    previous = value
    value = next
  }
  return { value, previous, christoffel }
}

/** The root of h_n with `index` roots above it, by bisection on the sign changes of the Jacobi matrix's Sturm sequence. */
function nthLargestRoot(n: number, index: number): number {
  let low = 0
  let high = Math.sqrt(2 * n + 1)
  while (high - low > 1e-13 * high) {
    const x = 0.5 * (low + high)
    let above = 0
    let pivot = -x
    for (let k = 1; ; k++) {
      if (pivot > 0) above++
      if (k === n) break
      pivot = -x - k / 2 / (pivot === 0 ? 1e-300 : pivot)
    }
    if (above > index) low = x
    else high = x
  }
  return 0.5 * (low + high)
}

/**
 * Clenshaw–Curtis rule on [-1, 1]: nodes -cos(πk/n) for k = 0…n, exact for polynomials up to degree n, and nested
 * when n doubles.
 *
 * @param n - number of intervals, at least 1; the rule has n + 1 nodes
 * @throws OptionError for another number
 * @see Clenshaw, Curtis, "A method for numerical integration on an automatic computer", 1960
 */
export function clenshawCurtis(n: number): Quadrature {
  checkOrder('clenshawCurtis', n, 1, 10000)
  const nodes = Float64Array.from({ length: n + 1 }, (_, k) => Math.sin((Math.PI * (2 * k - n)) / (2 * n)))
  const weights = Float64Array.from({ length: n + 1 }, (_, k) => {
    let sum = 1
    for (let j = 1; 2 * j <= n; j++) sum -= ((2 * j === n ? 1 : 2) / (4 * j * j - 1)) * Math.cos((2 * Math.PI * ((j * k) % n)) / n)
    return ((k === 0 || k === n ? 1 : 2) / n) * sum
  })
  return { nodes, weights }
}
