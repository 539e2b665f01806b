import { DataError, OptionError, ShapeError } from '@bpf/core'
import type { Matrix } from '@bpf/core/linalg'

/** @throws OptionError unless the value is a positive finite number */
export function checkPositive(value: number, name: string, caller: string): void {
  if (!(value > 0 && Number.isFinite(value))) throw new OptionError(`${caller}: ${name} must be a positive number, got ${value}`)
}

/** @throws OptionError unless the value is a positive integer */
export function checkCount(value: number, name: string, caller: string): void {
  if (!(Number.isInteger(value) && value > 0)) throw new OptionError(`${caller}: ${name} must be a positive integer, got ${value}`)
}

/** @throws OptionError unless the value is one of the choices */
export function checkChoice<T extends string>(value: T, choices: readonly T[], name: string, caller: string): void {
  if (!choices.includes(value)) throw new OptionError(`${caller}: ${name} must be one of ${choices.join(', ')}, got '${String(value)}'`)
}

function checkFinite(values: Float64Array, name: string, caller: string): void {
  const bad = values.findIndex((value) => !Number.isFinite(value))
  if (bad >= 0) throw new DataError(`${caller}: ${name} has ${values[bad]} at position ${bad}; expected finite values, remove that row`)
}

/** @throws DataError for an X without rows or columns, or with NaN or infinities */
export function checkInputs(x: Matrix, caller: string): void {
  if (x.rows === 0 || x.cols === 0) throw new DataError(`${caller}: X is empty: [${x.rows}, ${x.cols}]; expected rows and columns`)
  checkFinite(x.data, 'X', caller)
}

/** @throws as {@link checkInputs}; ShapeError when y has another length; DataError for NaN or infinities in y */
export function checkData(x: Matrix, y: Float64Array, caller: string): void {
  checkInputs(x, caller)
  if (y.length !== x.rows) throw new ShapeError(`${caller}: X has ${x.rows} rows, y ${y.length} values; give one a row`)
  checkFinite(y, 'y', caller)
}

/** @throws ShapeError when D has not one column per row of X; DataError for entries other than 0 and 1, or no rows */
export function checkPatterns(x: Matrix, patterns: Matrix, caller: string): void {
  if (patterns.cols !== x.rows) {
    throw new ShapeError(
      `${caller}: patterns D should be [P, ${x.rows}], one column per row of X, got [${patterns.rows}, ${patterns.cols}]`,
    )
  }
  if (patterns.rows === 0) throw new DataError(`${caller}: patterns D has no rows; sample or enumerate some`)
  const bad = patterns.data.findIndex((value) => value !== 0 && value !== 1)
  if (bad >= 0) {
    const where = `[${Math.floor(bad / patterns.cols)}, ${bad % patterns.cols}]`
    throw new DataError(`${caller}: patterns D must hold only 0 and 1, got ${patterns.data[bad]} at ${where}`)
  }
}

/** The size of a perturbation: how far a row of X may be moved. */
export interface InputPerturbation {
  /** ε ≥ 0: largest ‖δ‖. */
  epsilon: number
  /** The ball: `linf` (each feature by at most ε; the default) or `l2`. */
  norm?: 'linf' | 'l2'
}

/** @throws OptionError for a negative ε or an unknown norm */
export function checkPerturbation({ epsilon, norm = 'linf' }: InputPerturbation, caller: string): void {
  if (!(epsilon >= 0 && Number.isFinite(epsilon)))
    throw new OptionError(`${caller}: epsilon must be a number of at least 0, got ${epsilon}`)
  checkChoice(norm, ['linf', 'l2'], 'norm', caller)
}

/** Euclidean norm of values[start … start + length). */
export function blockNorm(values: Float64Array, start: number, length: number): number {
  let sum = 0
  for (let i = start; i < start + length; i++) sum += values[i] * values[i]
  return Math.sqrt(sum)
}
