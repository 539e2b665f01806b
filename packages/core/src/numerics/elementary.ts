/**
 * log and exp in double precision from + - * / and bit patterns only, after fdlibm (Sun Microsystems, 1993):
 * unlike Math.log and Math.exp, whose last bits differ between engines, they give the same bits everywhere.
 */
const scratch = new DataView(new ArrayBuffer(8))
const ln2High = 6.9314718036912381649e-1
const ln2Low = 1.90821492927058770002e-10

/** 2^n for -1022 ≤ n ≤ 1023, exactly. */
function powerOfTwo(n: number): number {
  scratch.setInt32(0, (n + 1023) << 20)
  scratch.setInt32(4, 0)
  return scratch.getFloat64(0)
}

/** Natural logarithm of x, error below 1 ulp. */
export function log(x: number): number {
  if (!(x > 0)) return x === 0 ? -Infinity : NaN
  if (x === Infinity) return x
  let exponent = 0
  let mantissa = x
  if (x < 2.2250738585072014e-308) {
    mantissa *= 2 ** 54
    exponent = -54
  }
  // The mantissa is brought to [√½, √2), so that f below is small.
  scratch.setFloat64(0, mantissa)
  const high = scratch.getInt32(0) + (0x3ff00000 - 0x3fe6a09e)
  exponent += (high >> 20) - 1023
  scratch.setInt32(0, (high & 0xfffff) + 0x3fe6a09e)
  const f = scratch.getFloat64(0) - 1
  const s = f / (2 + f)
  const z = s * s
  const w = z * z
  const even = w * (3.999999999940941908e-1 + w * (2.222219843214978396e-1 + w * 1.531383769920937332e-1))
  const odd = z * (6.66666666666673513e-1 + w * (2.857142874366239149e-1 + w * (1.818357216161805012e-1 + w * 1.479819860511658591e-1)))
  const half = 0.5 * f * f
  return exponent * ln2High - (half - (s * (half + even + odd) + exponent * ln2Low) - f)
}

/** e^x, error below 1 ulp. */
export function exp(x: number): number {
  if (x > 709.782712893384) return Infinity
  if (x < -745.1332191019411) return 0
  if (Number.isNaN(x)) return x
  const n = Math.floor(x * 1.442695040888963387 + 0.5)
  const high = x - n * ln2High
  const low = n * ln2Low
  const r = high - low
  const t = r * r
  const c =
    r -
    t *
      (1.66666666666666019037e-1 +
        t *
          (-2.77777777770155933842e-3 + t * (6.61375632143793436117e-5 + t * (-1.6533902205465251539e-6 + t * 4.13813679705723846039e-8))))
  const y = 1 - (low - (r * c) / (2 - c) - high)
  if (n > 1023) return y * 2 * powerOfTwo(n - 1)
  return n < -1021 ? y * powerOfTwo(n + 200) * powerOfTwo(-200) : y * powerOfTwo(n)
}
