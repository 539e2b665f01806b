import { OptionError } from '../errors'

/** Options of `uniform`. */
export interface UniformOptions {
  /** Lower bound, included. Default 0. */
  low?: number
  /** Upper bound, excluded. Default 1. */
  high?: number
}

/** Options of `normal`. */
export interface NormalOptions {
  /** Mean μ. Default 0. */
  mean?: number
  /** Standard deviation σ ≥ 0. Default 1. */
  stddev?: number
}

/** Options of `truncatedNormal`. */
export interface TruncatedNormalOptions extends NormalOptions {
  /** Lower bound in standard deviations from the mean; -Infinity for none. Default -2. */
  low?: number
  /** Upper bound in standard deviations from the mean; Infinity for none. Default 2. */
  high?: number
}

/** Options of `randint`. */
export interface RandintOptions {
  /** Lower bound, included. Default 0. */
  low?: number
  /** Upper bound, excluded. */
  high: number
}

export function checkCount(name: string, n: number): void {
  if (!Number.isSafeInteger(n) || n < 0) throw new OptionError(`random.${name}: expected a non-negative integer count, got ${n}`)
}

export function checkFinite(name: string, option: string, value: number): void {
  if (!Number.isFinite(value)) throw new OptionError(`random.${name}: ${option} must be a finite number, got ${value}`)
}

export function checkNormal(name: string, mean: number, stddev: number): void {
  checkFinite(name, 'mean', mean)
  if (!Number.isFinite(stddev) || stddev < 0)
    throw new OptionError(`random.${name}: stddev must be a finite number of at least 0, got ${stddev}`)
}

export function checkProbability(name: string, p: number): void {
  if (!(p >= 0 && p <= 1)) throw new OptionError(`random.${name}: p must be a probability in [0, 1], got ${p}`)
}

/** Number of values of a tensor of this shape. */
export function shapeSize(name: string, shape: readonly number[]): number {
  if (!Array.isArray(shape as unknown) || !shape.every((dimension) => Number.isSafeInteger(dimension) && dimension >= 0)) {
    throw new OptionError(`random.${name}: expected a shape, a list of non-negative integers, got ${JSON.stringify(shape)}`)
  }
  return shape.reduce((size, dimension) => size * dimension, 1)
}
