import type { Verdict } from './paper'

/** How a number is written in a verdict. */
export interface NumberStyle {
  /** Significant digits. Default 4. */
  digits?: number
  /** Appended to the bound: `0.65 × temperature scaling`. */
  of?: string
}

/** A number for people: `digits` significant digits, no trailing zeros, no exponent where it can be read without. */
export function formatNumber(value: number, digits = 4): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? 'not a number' : value > 0 ? '∞' : '−∞'
  if (value === 0) return '0'
  const size = Math.abs(value)
  const text =
    Number.isInteger(value) && size < 1e15
      ? String(value)
      : size >= 1e-4 && size < 1e7
        ? String(Number(value.toPrecision(digits)))
        : value.toExponential(digits - 1)
  return text.replace('-', '−')
}

function bounded(holds: boolean, sign: string, measured: number, bound: number, style: NumberStyle): Verdict {
  const of = style.of === undefined ? '' : ` (${style.of})`
  return {
    holds,
    measured: { text: formatNumber(measured, style.digits), value: measured },
    expected: { text: `${sign} ${formatNumber(bound, style.digits)}${of}`, value: bound },
  }
}

/** The claim that `measured` ≤ `bound`. NaN does not hold. */
export function atMost(measured: number, bound: number, style: NumberStyle = {}): Verdict {
  return bounded(measured <= bound, '≤', measured, bound, style)
}

/** The claim that `measured` ≥ `bound`. NaN does not hold. */
export function atLeast(measured: number, bound: number, style: NumberStyle = {}): Verdict {
  return bounded(measured >= bound, '≥', measured, bound, style)
}

/** The claim that `measured` is exactly `expected`: counts and identities. */
export function equals(measured: number, expected: number, style: NumberStyle = {}): Verdict {
  return bounded(measured === expected, '=', measured, expected, style)
}
