import { compile, float64Tensor, useBackend } from '@bpf/core'
import { float32Tolerance, goldenArray, goldenCases, isGoldenArray, mismatch, type GoldenArray, type Tolerance } from '@bpf/core/testing'
import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import { noPropCoefficients, noPropCosineSchedule } from './no-prop'
import { signalShares } from './no-prop/log-snr'
import {
  affineLogits,
  denoisingStep,
  expectedEmbedding,
  flowEndpoint,
  flowPoint,
  klToPrior,
  meanCrossEntropy,
  meanSquaredDistance,
  noisyEmbedding,
  odeVelocity,
  sdeDrift,
} from './no-prop/objective'
import { oneHot } from './shared/labelled'

type Inputs = Record<string, unknown>
type Tensors = { [name: string]: tf.Tensor }

const number = (inputs: Inputs, name: string): number => inputs[name] as number

/** Functions of tensors; numbers of a case are read from its inputs. */
const functions: Record<string, (inputs: Inputs, tensors: Tensors) => Tensors> = {
  dtInference(inputs, { z0, uHat, eps }) {
    const { a, b, c } = noPropCoefficients(noPropCosineSchedule({ steps: number(inputs, 'T') }))
    const predictions = tf.unstack(uHat)
    const path = [z0]
    tf.unstack(eps).forEach((noise, i) => path.push(denoisingStep(path[i], predictions[i], a[i], b[i], c[i], noise)))
    return { z: tf.stack(path.slice(1)) }
  },
  dtLoss(inputs, { W, labels, epsPrev, epsT, blockLogits, headW, headB }) {
    const [T, t, eta] = [number(inputs, 'T'), number(inputs, 't'), number(inputs, 'eta')]
    const { alphaBar, snrIncrease } = noPropCoefficients(noPropCosineSchedule({ steps: T }))
    const u = tf.matMul(oneHot(labels, W.shape[0]), W)
    const [zPrev, zT] = [noisyEmbedding(u, epsPrev, alphaBar[t - 1]), noisyEmbedding(u, epsT, alphaBar[T])]
    const uHat = expectedEmbedding(blockLogits, W)
    const ce = meanCrossEntropy(labels, affineLogits(zT, { kernel: headW, bias: headB }))
    const kl = klToPrior(u, alphaBar[0], Math.log1p(-alphaBar[0]))
    const denoise = tf.mul(0.5 * T * eta * snrIncrease[t - 1], meanSquaredDistance(uHat, u))
    return { zPrev, zT, uHat, ce, kl, denoise, total: tf.add(tf.add(ce, kl), denoise) }
  },
  ctLinearGamma(inputs, { t, z, uHat, u }) {
    const [g0, g1, eta] = [number(inputs, 'g0'), number(inputs, 'g1'), number(inputs, 'eta')]
    const gamma = tf.add(g0, tf.mul(g1 - g0, tf.expandDims(t, 1)))
    const slope = tf.fill(gamma.shape, g1 - g0)
    const { alphaBar, oneMinus, snrSlope } = signalShares({ gamma, slope })
    const error = tf.sum(tf.square(tf.sub(uHat, u)), 1, true)
    return {
      alphaBar,
      dSnrDt: snrSlope,
      loss: tf.mul(0.5 * eta, tf.mean(tf.mul(snrSlope, error))),
      odeVelocity: odeVelocity(z, uHat, alphaBar, slope),
      sdeDrift: sdeDrift(z, uHat, alphaBar, slope),
      sdeDiffusion: tf.sqrt(tf.mul(slope, oneMinus)),
    }
  },
  flowMatching(_, { W, labels, z0, t, v, headW }) {
    const u = tf.matMul(oneHot(labels, W.shape[0]), W)
    const times = tf.expandDims(t, 1)
    const zt = flowPoint(u, z0, times)
    const z1Tilde = flowEndpoint(zt, v, times)
    const bias = tf.zeros([headW.shape[1] ?? 1])
    return {
      zt,
      loss: meanSquaredDistance(v, tf.sub(u, z0)),
      z1Tilde,
      anchorCe: meanCrossEntropy(labels, affineLogits(z1Tilde, { kernel: headW, bias })),
    }
  },
}

/** Functions of plain numbers. */
const schedules: Record<string, (inputs: Inputs) => Record<string, ArrayLike<number>>> = {
  scheduleCoefficients(inputs) {
    const [alphaBarMin, alphaBarMax] = [number(inputs, 'alphaBarMin'), number(inputs, 'alphaBarMax')]
    const alphaBar = noPropCosineSchedule({ steps: number(inputs, 'T'), offset: number(inputs, 's'), alphaBarMin, alphaBarMax })
    const { snrIncrease, ...rest } = noPropCoefficients(alphaBar)
    return { ...rest, dSnr: snrIncrease }
  },
}

const isLabels = (name: string): boolean => name === 'labels'
const float32 = (name: string, { shape, data }: GoldenArray): tf.Tensor =>
  isLabels(name) ? tf.tensor(Int32Array.from(data), shape, 'int32') : tf.tensor(Float32Array.from(data), shape)
const float64 = (name: string, array: GoldenArray): tf.Tensor =>
  isLabels(name) ? float32(name, array) : float64Tensor(Float64Array.from(array.data), array.shape)

const expectedValues = (value: unknown): number[] => (isGoldenArray(value) ? value.data : [value as number])

const cases = goldenCases(new URL('../test/golden/', import.meta.url), '03-noprop')

describe('03-noprop golden vectors', () => {
  beforeAll(() => useBackend('onnx'))

  // Also the one test there is where BPF_GOLDEN_DIR holds nothing for this paper.
  it('are of functions that the package has', () => {
    const known = { ...functions, ...schedules }
    expect(cases.map(({ fn }) => fn).filter((fn) => !Object.hasOwn(known, fn))).toEqual([])
  })

  for (const { fn, name, inputs, outputs, tolerance } of cases) {
    if (Object.hasOwn(schedules, fn)) {
      it(`${name}: ${fn} agrees within the file's tolerance`, () => {
        const computed = schedules[fn](inputs)
        for (const key of Object.keys(outputs))
          expect(mismatch(computed[key], goldenArray(outputs, key).data, tolerance), key).toBeUndefined()
      })
      continue
    }

    const tensors = (make: (name: string, array: GoldenArray) => tf.Tensor): Tensors =>
      Object.fromEntries(Object.entries(inputs).flatMap(([key, value]) => (isGoldenArray(value) ? [[key, make(key, value)]] : [])))
    const agree = async (computed: Tensors, toleranceOf: (expected: number[]) => Tolerance): Promise<void> => {
      for (const [key, value] of Object.entries(outputs)) {
        const expected = expectedValues(value)
        expect(mismatch(await computed[key].data(), expected, toleranceOf(expected)), key).toBeUndefined()
      }
    }
    const run = (arrays: Tensors): Tensors => functions[fn](inputs, arrays)

    it(`${name}: ${fn} agrees in double precision within the file's tolerance`, async () => {
      await agree(compile(run, { precision: 'float64' })(tensors(float64)), () => tolerance)
    })

    it(`${name}: ${fn} agrees in float32, eager and compiled, within 2e-4 of the largest value`, async () => {
      await agree(run(tensors(float32)), float32Tolerance)
      await agree(compile(run)(tensors(float32)), float32Tolerance)
    })
  }
})
