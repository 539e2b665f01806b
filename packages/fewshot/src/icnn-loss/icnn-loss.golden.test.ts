import { compile, float64Tensor, grad, useBackend } from '@bpf/core'
import { float32Tolerance, goldenArray, goldenCases, isGoldenArray, mismatch, type GoldenArray, type GoldenCase } from '@bpf/core/testing'
import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import { episodeLoss, icnnLoss, icnnScore, protoTripletLoss } from './index'

beforeAll(() => useBackend('onnx'))

type Tensors = { [name: string]: tf.Tensor }
type Points = { support: tf.Tensor; query: tf.Tensor }

/** `expected` says which outputs the case has: there is no score of supports alone for one shot. */
function episodeLosses(inputs: GoldenCase['inputs'], expected: ReadonlySet<string>): (points: Points) => Tensors {
  const { way, shot, n_query: queries, margin, k } = inputs as Record<string, number>
  const [supportLabels, queryLabels] = [goldenArray(inputs, 'support_labels').data, goldenArray(inputs, 'query_labels').data]
  const classes = Array.from({ length: way }, (_, c) => c)
  const all = ({ support, query }: Points) => tf.concat([support, query], 0)
  const full = { k, ipc: shot + queries }
  const triplet = ({ support, query }: Points) => {
    const prototypes = tf.mean(tf.reshape(support, [way, shot, -1]), 1)
    return protoTripletLoss(query, queryLabels, prototypes, classes, { margin })
  }
  const loss = (points: Points) => icnnLoss(all(points), [...supportLabels, ...queryLabels], full)
  return (points) => {
    const { support, query } = points
    const [tripletGrad, lossGrad] = [grad(triplet)(points), grad(loss)(points)]
    const { parts } = episodeLoss({ support, query, ways: way, shots: shot }, { losses: ['fullicnn', 'prototriplet'], margin, k })
    return {
      proto_triplet: triplet(points),
      proto_triplet_of_episode: parts.prototriplet as tf.Tensor,
      proto_triplet_grad_support: tripletGrad.support,
      proto_triplet_grad_query: tripletGrad.query,
      icnn_score_full: icnnScore(all(points), [...supportLabels, ...queryLabels], full),
      icnn_loss_full: loss(points),
      icnn_loss_of_episode: parts.fullicnn as tf.Tensor,
      icnn_full_grad_support: lossGrad.support,
      icnn_full_grad_query: lossGrad.query,
      ...(expected.has('icnn_score_support') && { icnn_score_support: icnnScore(support, supportLabels, { k }) }),
      icnn_score_query_vs_support: icnnScore(query, queryLabels, { k, target: support, targetLabels: supportLabels }),
    }
  }
}

const functions: Record<string, typeof episodeLosses> = { episodeLosses }

/** What `episodeLoss` computes is what the parts are. */
const same = { proto_triplet_of_episode: 'proto_triplet', icnn_loss_of_episode: 'icnn_loss_full' }

describe('25-susana-distancia golden vectors', () => {
  const cases = goldenCases(new URL('../../test/golden/', import.meta.url), '25-susana-distancia')

  it('are of functions that the package has', () => {
    expect(cases.map(({ fn }) => fn).filter((fn) => !Object.hasOwn(functions, fn))).toEqual([])
  })

  for (const { fn, name, inputs, outputs, tolerance } of cases) {
    const run = functions[fn](inputs, new Set(Object.keys(outputs)))
    const points = (make: (array: GoldenArray) => tf.Tensor): Points => ({
      support: make(goldenArray(inputs, 'support')),
      query: make(goldenArray(inputs, 'query')),
    })
    const agree = async (computed: Tensors, toleranceOf: (expected: number[]) => typeof tolerance): Promise<void> => {
      const twice = Object.entries(same).map(([key, of]) => [key, outputs[of]])
      for (const [key, value] of [...Object.entries(outputs), ...twice] as [string, unknown][]) {
        const expected = isGoldenArray(value) ? value.data : [value as number]
        expect(computed[key], `${key} is computed`).toBeDefined()
        expect(mismatch(await computed[key].data(), expected, toleranceOf(expected)), key).toBeUndefined()
      }
    }

    it(`${name}: ${fn} agrees in double precision within the file's tolerance`, async () => {
      const double = points(({ shape, data }) => float64Tensor(Float64Array.from(data), shape))
      await agree(compile(run, { precision: 'float64' })(double), () => tolerance)
    })

    it(`${name}: ${fn} agrees in float32, eager and compiled, within 2e-4 of the largest value`, async () => {
      const single = points(({ shape, data }) => tf.tensor(Float32Array.from(data), shape))
      await agree(run(single), float32Tolerance)
      await agree(compile(run)(single), float32Tolerance)
    })
  }
})
