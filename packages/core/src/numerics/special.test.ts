import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { exp, log } from './elementary'
import { digamma, erf, erfc, lgamma, normalCdf, probit } from './index'

// Reference values: mpmath 1.3 with 60 digits, at the double nearest to the argument.
const erfValues: [number, number][] = [
  [1e-300, 1.1283791670955126e-300],
  [1e-10, 1.1283791670955126e-10],
  [0.1, 0.1124629160182849],
  [0.25, 0.27632639016823693],
  [0.5, 0.52049987781304654],
  [0.84, 0.76514271145499452],
  [0.85, 0.77066805760835252],
  [1.0, 0.84270079294971487],
  [1.2, 0.91031397822963537],
  [1.3, 0.93400794494065245],
  [2.0, 0.99532226501895273],
  [2.85, 0.9999443437200386],
  [2.9, 0.99995890212190054],
  [3.5, 0.99999925690162766],
  [5.5, 0.99999999999999264],
  [-0.3, -0.32862675945912742],
  [-1.1, -0.88020506957408173],
  [-2.5, -0.99959304798255504],
]
const erfcValues: [number, number][] = [
  [1e-10, 0.99999999988716208],
  [0.1, 0.8875370839817151],
  [0.25, 0.72367360983176307],
  [0.3, 0.67137324054087258],
  [0.5, 0.47950012218695346],
  [0.84, 0.23485728854500548],
  [0.85, 0.22933194239164748],
  [1.0, 0.15729920705028513],
  [1.2, 0.089686021770364632],
  [1.3, 0.065992055059347554],
  [2.0, 0.0046777349810472658],
  [2.85, 5.5656279961398958e-5],
  [2.9, 4.1097878099458858e-5],
  [3.5, 7.4309837234141275e-7],
  [5.5, 7.3578479179743981e-15],
  [10.0, 2.0884875837625448e-45],
  [20.0, 5.3958656116079009e-176],
  [26.0, 5.6631924088561428e-296],
  [-0.3, 1.3286267594591274],
  [-1.1, 1.8802050695740817],
  [-2.5, 1.999593047982555],
]
const normalCdfValues: [number, number][] = [
  [0.0, 0.5],
  [0.5, 0.6914624612740131],
  [1.0, 0.84134474606854295],
  [3.0, 0.99865010196836991],
  [8.0, 0.99999999999999938],
  [-0.1, 0.46017216272297102],
  [-1.0, 0.15865525393145705],
  [-1.5, 0.066807201268858066],
  [-2.5758293035489004, 0.0050000000000000054],
  [-5.0, 2.8665157187919391e-7],
  [-10.0, 7.6198530241605261e-24],
  [-20.3, 6.4292444676983463e-92],
  [-30.7, 2.8458302208738192e-207],
  [-37.5, 4.6053530095819548e-308],
]
const probitValues: [number, number][] = [
  [0.001, -3.0902323061678135],
  [0.025, -1.9599639845400542],
  [0.05, -1.6448536269514727],
  [0.0749, -1.4402382675279637],
  [0.0751, -1.43882539275254],
  [0.1, -1.2815515655446004],
  [0.3, -0.52440051270804082],
  [0.5000001, 2.5066282733116483e-7],
  [0.6, 0.25334710313579974],
  [0.9, 1.2815515655446006],
  [0.975, 1.9599639845400539],
  [0.999, 3.0902323061678133],
  [0.9999999, 5.1993375822906611],
  [1e-5, -4.2648907939228246],
  [1e-10, -6.3613409024040562],
  [1e-12, -7.0344838253011319],
  [1e-20, -9.2623400897984076],
  [1e-100, -21.273453560965324],
  [1e-300, -37.047096299361199],
]
const lgammaValues: [number, number][] = [
  [1e-300, 690.77552789821371],
  [1e-10, 23.025850929882735],
  [0.1, 2.2527126517342059],
  [0.3, 1.0957979948180756],
  [0.49, 0.59224962933526706],
  [0.5, 0.57236494292470009],
  [0.75, 0.20328095143129537],
  [0.999, 0.00057803853289138024],
  [0.9999999, 5.7721574684441928e-8],
  [1.0000001, -5.7721558299185071e-8],
  [1.25, -0.098271836421813161],
  [1.4616321449683622, -0.12148629053584961],
  [1.499, -0.12081826006993201],
  [1.51, -0.12037073533396486],
  [1.9999, -4.2275208772153458e-5],
  [2.0001, 4.2281658112919946e-5],
  [2.3, 0.15418945495963047],
  [2.5, 0.28468287047291916],
  [3.0, 0.69314718055994531],
  [3.7, 1.4280723266653881],
  [5.5, 3.9578139676187163],
  [9.99, 12.779315214350193],
  [10.0, 12.80182748008147],
  [12.5, 18.734347511936446],
  [50.0, 144.56574394634489],
  [171.5, 709.14316303092824],
  [100000.0, 1051287.7089736569],
  [10000000000.0, 220258509288.81058],
  [1e18, 4.0446531673892822e19],
  [1e300, 6.8977552789821374e302],
  [-0.5, 1.2655121234846454],
  [-1.5, 0.86004701537648101],
  [-2.3, 0.36956666345500804],
  [-7.77, -8.5571322816051231],
  [-20.25, -41.600961915340524],
]
const digammaValues: [number, number][] = [
  [1e-10, -10000000000.577215],
  [0.1, -10.423754940411076],
  [0.3, -3.5025242222001331],
  [0.5, -1.9635100260214235],
  [1.0, -0.57721566490153286],
  [1.2, -0.28903989659218835],
  [1.3, -0.16919088886679961],
  [1.46, -0.0015805619870834521],
  [1.4616321449683622, -9.2412655217294275e-17],
  [1.4616321449683625, 1.2245374622004069e-16],
  [1.47, 0.0080664890113648684],
  [1.7, 0.20854787487349392],
  [1.72, 0.2242928871461575],
  [2.0, 0.42278433509846714],
  [3.5, 1.1031566406452432],
  [7.2, 1.9030321442701752],
  [9.99, 2.2507003728312011],
  [10.5, 2.3030010342976864],
  [100.0, 4.6001618527380874],
  [100000000.0, 18.420680738952365],
  [-0.5, 0.036489973978576521],
  [-1.3, 2.8825405488661673],
  [-7.77, -1.4501952005060029],
]
const logValues: [number, number][] = [
  [5e-324, -744.44007192138126],
  [1e-310, -713.80137882815417],
  [1e-300, -690.77552789821371],
  [1e-5, -11.512925464970228],
  [0.5, -0.69314718055994531],
  [0.7071067811865475, -0.34657359027997274],
  [0.70710678118655, -0.34657359027996913],
  [0.99999, -1.0000050000287825e-5],
  [1.0000001, 9.9999995058387045e-8],
  [1.41421356, 0.34657358860194112],
  [1.4142136, 0.346573616886212],
  [2.0, 0.69314718055994531],
  [3.0, 1.0986122886681097],
  [10.0, 2.3025850929940457],
  [10000000000.0, 23.025850929940457],
  [1.7e308, 709.72683689322824],
]
const expValues: [number, number][] = [
  [-745.0, 2.8223507304719371e-324],
  [-720.0, 2.0322308024242932e-313],
  [-700.0, 9.8596765437597709e-305],
  [-10.5, 2.7536449349747158e-5],
  [-1.0, 0.36787944117144232],
  [-0.35, 0.70468808971871345],
  [-1e-9, 0.999999999],
  [1e-20, 1.0],
  [0.34, 1.4049475905635938],
  [0.35, 1.4190675485932572],
  [1.0, 2.7182818284590452],
  [10.0, 22026.465794806717],
  [300.3, 2.6220013776845457e130],
  [709.7, 1.6549840276802644e308],
]

function worstRelativeError(fn: (x: number) => number, table: [number, number][]): number {
  return Math.max(...table.map(([x, expected]) => (expected === 0 ? Math.abs(fn(x)) : Math.abs(fn(x) - expected) / Math.abs(expected))))
}

const real = (min: number, max: number) => fc.double({ min, max, noNaN: true })

describe('special functions against mpmath', () => {
  it.each([
    ['erf', erf, erfValues, 3e-16],
    ['erfc', erfc, erfcValues, 4e-16],
    ['normalCdf', normalCdf, normalCdfValues, 1e-15],
    ['probit', probit, probitValues, 2e-15],
    ['lgamma', lgamma, lgammaValues, 2e-15],
    ['digamma', digamma, digammaValues, 2e-15],
    ['log', log, logValues, 3e-16],
  ] as const)('%s is right to rounding', (_name, fn, table, tolerance) => {
    expect(worstRelativeError(fn, table as [number, number][])).toBeLessThan(tolerance)
  })

  it('exp is right to rounding, below the normal range to the spacing of denormals', () => {
    expect(worstRelativeError(exp, expValues.slice(2))).toBeLessThan(3e-16)
    for (const [x, expected] of expValues.slice(0, 2)) expect(Math.abs(exp(x) - expected)).toBeLessThanOrEqual(5e-324 + 2e-16 * expected)
  })
})

describe('edges', () => {
  it('takes infinities, zeros and NaN to their limits', () => {
    expect([erf(Infinity), erf(-Infinity), erfc(Infinity), erfc(-Infinity), erfc(27.5)]).toEqual([1, -1, 0, 2, 0])
    expect([normalCdf(-Infinity), normalCdf(Infinity), probit(0), probit(1), probit(0.5)]).toEqual([0, 1, -Infinity, Infinity, 0])
    expect([lgamma(0), lgamma(-3), lgamma(1), lgamma(2), lgamma(Infinity)]).toEqual([Infinity, Infinity, 0, 0, Infinity])
    expect([log(0), log(Infinity), log(1), exp(-Infinity), exp(Infinity), exp(0)]).toEqual([-Infinity, Infinity, 0, 0, Infinity, 1])
    for (const value of [
      erf(NaN),
      erfc(NaN),
      normalCdf(NaN),
      probit(NaN),
      probit(1.1),
      lgamma(NaN),
      digamma(0),
      digamma(-2),
      digamma(NaN),
      log(-1),
      exp(NaN),
    ]) {
      expect(value).toBeNaN()
    }
  })
})

describe('identities', () => {
  it('erf is odd and erf + erfc = 1', () => {
    fc.assert(
      fc.property(real(-8, 8), (x) => {
        expect(erf(-x)).toBe(-erf(x))
        expect(Math.abs(erf(x) + erfc(x) - 1)).toBeLessThan(3e-16)
      }),
    )
  })

  it('probit inverts normalCdf', () => {
    fc.assert(
      fc.property(real(-37, 5), (x) => {
        // The inverse is as sensitive as 1 / (x · p'(x)/p(x)); in the upper tail p is close to 1 and holds few digits of x.
        const sensitivity = Math.max(1, Math.exp((x * x) / 2) * (x > 0 ? 2.5 : 0))
        expect(Math.abs(probit(normalCdf(x)) - x)).toBeLessThan(1e-14 * (1 + Math.abs(x)) + 3e-16 * sensitivity)
      }),
    )
  })

  it('lgamma and digamma satisfy recurrence, reflection and duplication', () => {
    fc.assert(
      fc.property(real(0.01, 50), (x) => {
        const scale = 1 + Math.abs(lgamma(x)) + Math.abs(Math.log(x))
        expect(Math.abs(lgamma(x + 1) - lgamma(x) - Math.log(x)) / scale).toBeLessThan(2e-14)
        expect(Math.abs(digamma(x + 1) - digamma(x) - 1 / x) * Math.min(1, x)).toBeLessThan(4e-15 * 5)
        const duplicated = lgamma(x) + lgamma(x + 0.5) - ((1 - 2 * x) * Math.LN2 + 0.5 * Math.log(Math.PI)) - lgamma(2 * x)
        expect(Math.abs(duplicated) / (1 + lgamma(2 * x + 3))).toBeLessThan(2e-14)
      }),
    )
    fc.assert(
      fc.property(real(0.01, 0.99), (x) => {
        // sin and tan of π times the distance to the nearest integer: near π they would lose digits.
        const distance = Math.min(x, 1 - x)
        const sign = x < 0.5 ? 1 : -1
        expect(Math.abs(lgamma(x) + lgamma(1 - x) - Math.log(Math.PI / Math.sin(Math.PI * distance)))).toBeLessThan(1e-14)
        expect(Math.abs(digamma(1 - x) - digamma(x) - (sign * Math.PI) / Math.tan(Math.PI * distance)) * distance).toBeLessThan(1e-14)
      }),
    )
  })

  it('our log and exp agree with the engine to 1 ulp', () => {
    fc.assert(
      fc.property(real(-700, 700), (x) => {
        expect(Math.abs(exp(x) - Math.exp(x)) / Math.exp(x)).toBeLessThan(3e-16)
        const y = Math.exp(x)
        expect(Math.abs(log(y) - Math.log(y))).toBeLessThanOrEqual(3e-16 * Math.abs(x))
      }),
    )
  })
})
