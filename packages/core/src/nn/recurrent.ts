import * as tf from '@tensorflow/tfjs-core'
import { split, type Key } from '../random/key'
import type { Tree } from '../tree'
import { addBias, checkCount, project } from './dense'
import { torchDefault, type Initializer } from './initializers'
import { checkInput, checkRank, stateless, type Empty, type Layer, type Shape } from './layer'

/**
 * One step of a recurrence. The part that depends on the input only (`prepare`) is apart from the part that needs the
 * carry (`advance`), so that it is computed for all times at once.
 */
export type Cell<P extends Tree, Carry extends Tree> = {
  /** @param inputShape - [d], one time step */
  init(key: Key, inputShape: Shape): { params: P; outputShape: Shape }
  /** The carry before the first step, zeros, for `batch` sequences. */
  initialCarry(batch: number): Carry
  /** x [n, ..., d] → what `advance` needs of it, [n, ..., g]. */
  prepare(params: P, x: tf.Tensor): tf.Tensor
  /** From a carry and one prepared step [n, g] to the next carry and the output [n, units]. */
  advance(params: P, carry: Carry, prepared: tf.Tensor): { carry: Carry; y: tf.Tensor }
}

/** Parameters of {@link gruCell} and {@link lstmCell}; the gates stand side by side along the last axis. */
export type GatedParams = {
  /** [d, gates·units] */
  inputKernel: tf.Tensor
  /** [gates·units] */
  inputBias: tf.Tensor
  /** [units, gates·units] */
  recurrentKernel: tf.Tensor
  /** [gates·units] */
  recurrentBias: tf.Tensor
}

function gatedInit(where: string, units: number, gates: number, init: Initializer): Cell<GatedParams, Tree>['init'] {
  checkCount(where, 'units', units)
  return (key, inputShape) => {
    checkRank(where, inputShape, 1, 'd')
    const keys = split(key, 4)
    // PyTorch's bound for everything in a recurrent layer is 1/√units, which the fans of the recurrent kernel give.
    const fans = { fanIn: units, fanOut: gates * units }
    const params = {
      inputKernel: init(keys[0], [inputShape[0], gates * units], fans),
      inputBias: init(keys[1], [gates * units], fans),
      recurrentKernel: init(keys[2], [units, gates * units], fans),
      recurrentBias: init(keys[3], [gates * units], fans),
    }
    return { params, outputShape: [units] }
  }
}

function prepareGates(params: GatedParams, x: tf.Tensor): tf.Tensor {
  return addBias(project(x, params.inputKernel), { kernel: params.inputKernel, bias: params.inputBias })
}

function recurrentGates(params: GatedParams, h: tf.Tensor): tf.Tensor {
  return tf.add(tf.matMul(h as tf.Tensor2D, params.recurrentKernel as tf.Tensor2D), params.recurrentBias)
}

/** Options of the cells. */
export type CellOptions = {
  /** Draws all parameters, with fanIn = units. Default PyTorch's, uniform on ±1/√units. */
  init?: Initializer
}

/** Carry of {@link lstmCell}: cell and hidden state, [n, units] each. */
export type LstmCarry = { cell: tf.Tensor; hidden: tf.Tensor }

/**
 * Long short-term memory, as in PyTorch; the gates are in the order input, forget, candidate, output.
 *
 * i, f, o = σ(…), g = tanh(…), each of W·x + b + U·h + b';  c ← f⊙c + i⊙g;  h ← o⊙tanh(c).
 *
 * @see Hochreiter & Schmidhuber, "Long short-term memory", 1997; Gers et al., 2000 (forget gate)
 */
export function lstmCell(units: number, { init = torchDefault }: CellOptions = {}): Cell<GatedParams, LstmCarry> {
  return {
    init: gatedInit('lstmCell', units, 4, init),
    initialCarry: (batch) => ({ cell: tf.zeros([batch, units]), hidden: tf.zeros([batch, units]) }),
    prepare: prepareGates,
    advance: (params, carry, prepared) => {
      const [input, forget, candidate, output] = tf.split(tf.add(prepared, recurrentGates(params, carry.hidden)), 4, 1)
      const kept = tf.mul(tf.sigmoid(forget), carry.cell)
      const cell = tf.add(kept, tf.mul(tf.sigmoid(input), tf.tanh(candidate)))
      const hidden = tf.mul(tf.sigmoid(output), tf.tanh(cell))
      return { carry: { cell, hidden }, y: hidden }
    },
  }
}

/** Carry of {@link gruCell}: the hidden state, [n, units]. */
export type GruCarry = { hidden: tf.Tensor }

/**
 * Gated recurrent unit, as in PyTorch; the gates are in the order reset, update, new.
 *
 * r, z = σ(W·x + b + U·h + b');  n = tanh(W·x + b + r⊙(U·h + b'));  h ← (1 − z)⊙n + z⊙h.
 *
 * @see Cho et al., "Learning phrase representations using RNN encoder–decoder", 2014, arXiv:1406.1078
 */
export function gruCell(units: number, { init = torchDefault }: CellOptions = {}): Cell<GatedParams, GruCarry> {
  return {
    init: gatedInit('gruCell', units, 3, init),
    initialCarry: (batch) => ({ hidden: tf.zeros([batch, units]) }),
    prepare: prepareGates,
    advance: (params, { hidden }, prepared) => {
      const fromInput = tf.split(prepared, [2 * units, units], 1)
      const fromHidden = tf.split(recurrentGates(params, hidden), [2 * units, units], 1)
      const [reset, update] = tf.split(tf.sigmoid(tf.add(fromInput[0], fromHidden[0])), 2, 1)
      const fresh = tf.tanh(tf.add(fromInput[1], tf.mul(reset, fromHidden[1])))
      const next = tf.add(fresh, tf.mul(update, tf.sub(hidden, fresh)))
      return { carry: { hidden: next }, y: next }
    },
  }
}

/**
 * Runs a cell over time.
 *
 * @param x - [n, t, d]
 * @param carry - default the cell's initial carry
 * @returns `y` [n, t, units] and the last `carry`
 */
export function unroll<P extends Tree, Carry extends Tree>(
  cell: Cell<P, Carry>,
  params: P,
  x: tf.Tensor,
  carry: Carry = cell.initialCarry(x.shape[0]),
): { y: tf.Tensor; carry: Carry } {
  let current = carry
  const outputs = tf.unstack(cell.prepare(params, x), 1).map((prepared) => {
    const next = cell.advance(params, current, prepared)
    current = next.carry
    return next.y
  })
  return { y: tf.stack(outputs, 1), carry: current }
}

/** Options of {@link recurrent}. */
export type RecurrentOptions = {
  /** The output of every step (`all`, default) or of the last one. */
  output?: 'all' | 'last'
  /** Read the sequence from its end; outputs stay at their inputs' places, `last` is the one read last. Default false. */
  reverse?: boolean
}

/**
 * A cell as a layer over sequences; the carry starts at zero. Use {@link unroll} to give or get a carry.
 *
 * @returns a layer from [n, t, d] to [n, t, units], or [n, units] with `output: 'last'`
 */
export function recurrent<P extends Tree, Carry extends Tree>(cell: Cell<P, Carry>, options: RecurrentOptions = {}): Layer<P, Empty> {
  const { output = 'all', reverse = false } = options
  return stateless<P>(
    (key, inputShape) => {
      checkRank('recurrent', inputShape, 2, 't, d')
      const { params, outputShape } = cell.init(key, inputShape.slice(1))
      return { params, outputShape: output === 'last' ? outputShape : [inputShape[0], ...outputShape] }
    },
    (params, x) => {
      checkInput('recurrent', x, 3, x.shape[2] as number, 'n, t, d')
      const { y } = unroll(cell, params, reverse ? tf.reverse(x, 1) : x)
      if (output === 'last') return tf.squeeze(tf.slice(y, [0, (y.shape[1] as number) - 1, 0], [-1, 1, -1]), [1])
      return reverse ? tf.reverse(y, 1) : y
    },
  )
}
