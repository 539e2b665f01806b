import { compile, float64Tensor, tree, useBackend, type Key, type Learner, type Tree } from '@bpf/core'
import { sgd } from '@bpf/core/optim'
import { key } from '@bpf/core/random'
import { float32Tolerance, goldenArray, goldenCases, isGoldenArray, mismatch, type GoldenCase, type Tolerance } from '@bpf/core/testing'
import * as tf from '@tensorflow/tfjs-core'
import { beforeAll, describe, expect, it } from 'vitest'
import {
  createGraph,
  forwardForwardNodes,
  localLinks,
  singleForward,
  topDownToLoss,
  virtualNodeEdges,
  wholeGraph,
  type GraphStep,
} from './index'

beforeAll(() => useBackend('onnx'))

type Inputs = GoldenCase['inputs']
/** Parameters by the case's names, double or single precision. */
type Make = (name: string) => tf.Tensor
type Computed = Record<string, tf.Tensor>
/** Runs a pure function: compiled in double precision, or in single precision, eager or compiled. */
type Run = <State extends Tree>(fn: (state: State) => Computed, state: State) => Computed

const flat = (inputs: Inputs, name: string): number[] => [...goldenArray(inputs, name).data]
const batch = (): GraphStep => ({ index: tf.tensor1d([0], 'int32') })

function graphOf(inputs: Inputs) {
  const [nodes, columns] = goldenArray(inputs, 'x').shape
  const common = {
    nodes,
    src: flat(inputs, 'src'),
    dst: flat(inputs, 'dst'),
    features: { data: flat(inputs, 'x'), shape: [nodes, columns] },
  }
  if (inputs.y === undefined) return createGraph(common)
  const train = flat(inputs, 'train_idx')
  const test = Array.from({ length: nodes }, (_, i) => i).filter((i) => !train.includes(i))
  const mask = (list: number[]): Uint8Array => Uint8Array.from({ length: nodes }, (_, i) => (list.includes(i) ? 1 : 0))
  return createGraph({
    ...common,
    labels: flat(inputs, 'y'),
    classes: inputs.C as number,
    masks: { train: mask(train), validation: new Uint8Array(nodes), test: mask(test) },
  })
}

const unit = sgd({ learningRate: 1 })

/** Loss and gradients of a layer: a step of gradient descent with rate 1 moves the parameters by them. */
function gradients(before: Tree, after: Tree): { dW: tf.Tensor; db: tf.Tensor } {
  const [from, to] = [before, after] as [Record<string, tf.Tensor>, Record<string, tf.Tensor>]
  return { dW: tf.sub(from.w, to.w), db: tf.sub(from.b, to.b) }
}

/** The step of a method's first layer as a pure function. */
async function firstStep(method: { stage: ReturnType<typeof singleForward>['stage'] }, state: never) {
  const { learner } = await method.stage(0, { tensors: state, host: null }, { dataset: wholeGraph(), key: key(0) })
  return (params: Tree): { params: Tree; metrics: Computed } => {
    const inner = { params, optimizer: unit.init(params) }
    const { tensors, metrics } = (learner as Learner<Tree, GraphStep>).step(inner, batch(), key(0) as Key)
    return { params: (tensors as { params: Tree }).params, metrics }
  }
}

const functions: Record<string, (inputs: Inputs, make: Make, run: Run) => Promise<Computed>> = {
  async sfLayer(inputs, make, run) {
    const graph = graphOf(inputs)
    const [classes, width] = [inputs.C as number, goldenArray(inputs, 'W').shape[1]]
    const method = singleForward({ graph, widths: [width], optimizer: unit, temperature: inputs.temperature as number })
    const state = { layers: [{ w: make('W'), b: make('b') }], drawn: { virtual: make('virtual_feats') } }
    const single = { layers: [], drawn: { virtual: tf.tensor(flat(inputs, 'virtual_feats'), goldenArray(inputs, 'virtual_feats').shape) } }
    const step = await firstStep(method, single as never)
    const train = tf.tensor1d(flat(inputs, 'train_idx'), 'int32')
    const added = virtualNodeEdges(
      graph.nodes,
      classes,
      flat(inputs, 'train_idx'),
      flat(inputs, 'train_idx').map((i) => flat(inputs, 'y')[i]),
    )
    return {
      ...run((tensors: typeof state) => {
        const [z] = method.embeddings(tensors)
        const [real, virtual] = tf.split(z, [graph.nodes, classes]) as [tf.Tensor2D, tf.Tensor2D]
        const logits = tf.div(tf.matMul(tf.gather(real, train), virtual, false, true), inputs.temperature as number)
        const next = step(tensors.layers[0])
        return {
          z,
          logits,
          loss: next.metrics.loss,
          ...gradients(tensors.layers[0], next.params),
          probs_all_real: method.predict(tensors),
        }
      }, state),
      aug_src: tf.tensor1d([...flat(inputs, 'src'), ...added.src], 'int32'),
      aug_dst: tf.tensor1d([...flat(inputs, 'dst'), ...added.dst], 'int32'),
    }
  },
  ffVirtualNodes: (inputs, make, run) => forwardForward(inputs, make, run, 'virtual-nodes'),
  ffLabelAppend: (inputs, make, run) => forwardForward(inputs, make, run, 'features'),
  async sfTopToLoss(inputs, make, run) {
    const graph = graphOf(inputs)
    const width = goldenArray(inputs, 'W0').shape[1]
    const method = topDownToLoss({ graph, widths: [width, width, width], optimizer: unit, clip: Infinity })
    const layers = [0, 1, 2].map((l) => ({ w: make(`W${l}`), b: make(`b${l}`) }))
    const drawn = { virtual: make('virtual_feats') }
    return Promise.resolve(
      run(
        (given: { layers: typeof layers; drawn: typeof drawn }) => {
          const optimizers = given.layers.map((p) => unit.init(p))
          const states = method.bottomUp({ ...given, optimizers, states: [] })
          const { tensors, metrics } = method.step({ ...given, optimizers, states }, batch(), key(0))
          const out: Computed = {}
          given.layers.forEach((params, l) => {
            const { dW, db } = gradients(params, tensors.layers[l])
            Object.assign(out, { [`loss${l}`]: metrics[`loss${l}`], [`dW${l}`]: dW, [`db${l}`]: db, [`state${l + 1}`]: states[l] })
          })
          return out
        },
        { layers, drawn },
      ),
    )
  },
  async linkPrediction(inputs, make, run) {
    const graph = graphOf(inputs)
    const ends = flat(inputs, 'edge_label_index')
    const label = Int32Array.from(flat(inputs, 'edge_label'))
    const pairs = { src: Int32Array.from(ends.slice(0, label.length)), dst: Int32Array.from(ends.slice(label.length)), label }
    const theta = inputs.theta as number
    const options = { graph, widths: [goldenArray(inputs, 'W').shape[1]], optimizer: unit, pairs: { train: pairs }, theta }
    const single = localLinks(options)
    const forward = localLinks({ ...options, objective: 'forward-forward' })
    const state = { layers: [{ w: make('W'), b: make('b') }], drawn: {} }
    const [step, forwardStep] = await Promise.all([single, forward].map((method) => firstStep(method, { layers: [], drawn: {} } as never)))
    const logit = (p: tf.Tensor): tf.Tensor => tf.neg(tf.log(tf.sub(tf.div(1, p), 1)))
    return run((tensors: typeof state) => {
      const next = step(tensors.layers[0])
      return {
        z: single.embeddings(tensors)[0],
        scores: logit(single.scores(tensors, pairs)),
        sf_loss: next.metrics.loss,
        ...gradients(tensors.layers[0], next.params),
        ff_goodness: tf.add(logit(forward.scores(tensors, pairs)), theta),
        ff_loss: forwardStep(tensors.layers[0]).metrics.loss,
      }
    }, state)
  },
}

async function forwardForward(inputs: Inputs, make: Make, run: Run, labels: 'virtual-nodes' | 'features'): Promise<Computed> {
  const graph = graphOf(inputs)
  const classes = inputs.C as number
  const [count, size] = goldenArray(inputs, 'neg_classes').shape
  const width = goldenArray(inputs, 'W').shape[1]
  const method = forwardForwardNodes({ graph, widths: [width], labels, theta: inputs.theta as number, negatives: count, optimizer: unit })
  const isVirtual = labels === 'virtual-nodes'
  const drawn = {
    negatives: tf.tensor2d(flat(inputs, 'neg_classes'), [count, size], 'int32'),
    ...(isVirtual && { virtual: tf.tensor(flat(inputs, 'virtual_feats'), goldenArray(inputs, 'virtual_feats').shape) }),
  }
  const step = await firstStep(method, { layers: [], drawn } as never)
  const params = { w: make('W'), b: make('b') }
  // What training reads of goodness is a host function: it is checked in single precision.
  const single = { w: tf.tensor(flat(inputs, 'W'), goldenArray(inputs, 'W').shape), b: tf.tensor(flat(inputs, 'b')) }
  const read = await method.goodness({ layers: [single], drawn }, 0)
  const [right, wrong] = [tf.reshape(tf.slice(read, [0, 0], [1, size]), [size]), tf.slice(read, [1, 0], [count, size])]
  const learnt = run((p: typeof params) => {
    const next = step(p)
    const { loss, positive, negative } = next.metrics
    const losses: Computed = isVirtual ? { loss_pos: positive, loss_neg: negative } : { loss }
    return { ...losses, ...gradients(p, next.params) }
  }, params)
  if (isVirtual) return { ...learnt, goodness_pos: right, goodness_neg: wrong }
  const test = tf.tensor1d(
    Array.from({ length: graph.nodes }, (_, i) => i).filter((i) => graph.masks?.test[i] === 1),
    'int32',
  )
  const scores = run((p: typeof params) => ({ scores: tf.gather(method.predict({ layers: [p], drawn }), test) }), params).scores
  expect(scores.shape).toEqual([test.size, classes])
  return { ...learnt, goodness_pos: right, goodness_neg: wrong, test_idx: test, test_goodness: scores, pred: tf.argMax(scores, 1) }
}

const expectedOf = (value: unknown): number[] => (isGoldenArray(value) ? value.data : [value as number])

describe('01-forwardgnn golden vectors', () => {
  for (const { fn, name, inputs, outputs, tolerance_float64: fine, tolerance } of goldenCases(
    new URL('../test/golden/', import.meta.url),
    '01-forwardgnn',
  )) {
    const agree = async (computed: Computed, toleranceOf: (expected: number[]) => Tolerance) => {
      for (const [output, value] of Object.entries(outputs)) {
        expect(mismatch(await computed[output].data(), expectedOf(value), toleranceOf(expectedOf(value))), output).toBeUndefined()
      }
      tree.dispose(computed)
    }
    const single: Make = (array) => tf.tensor(flat(inputs, array), goldenArray(inputs, array).shape)
    it(`${name}: ${fn} agrees in double precision within the file's tolerance`, async () => {
      const double: Make = (array) => float64Tensor(Float64Array.from(flat(inputs, array)), goldenArray(inputs, array).shape)
      const computed = await functions[fn](inputs, double, (f, state) => compile(f, { precision: 'float64' })(state))
      await agree(computed, () => fine ?? tolerance)
    })
    it(`${name}: ${fn} agrees in float32, eager and compiled`, async () => {
      await agree(await functions[fn](inputs, single, (f, state) => f(state)), float32Tolerance)
      await agree(await functions[fn](inputs, single, (f, state) => compile(f)(state)), float32Tolerance)
    })
  }
})
