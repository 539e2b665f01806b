/** Activation memory of a training step, counted on its trace, at one depth and at four times that. */
import { dense, mlp, sequential, type Layer } from '@bpf/core/nn'
import {
  augLocal,
  backpropagation,
  counterCurrentLearning,
  lif,
  monoForward,
  noProp,
  noPropBackpropagation,
  noPropDenseBlock,
  residualLayers,
  sltt,
} from '@bpf/local'
import { activationBytesOf } from '../activation-bytes'

interface DepthMethod {
  id: string
  name: string
  /** What grows. */
  what: string
  isLocal: boolean
  /** Bytes for each example of a step. */
  bytes(depth: number): number
  shallow: number
}

const widths = (depth: number): number[] => Array<number>(depth).fill(128)
const block = () => noPropDenseBlock({ x: [128], z: [64], trunk: [64] })
const chain = (depth: number) => residualLayers(Array<number>(depth).fill(8))
const image = [14, 14, 1]
const spiking = () => sequential([dense(128), lif(), dense(64), lif(), dense(10)]) as Layer

/** Every method whose paper claims it, and its twin by backpropagation. */
export const depthMethods: readonly DepthMethod[] = [
  {
    id: 'noprop-dt',
    name: 'NoProp-DT',
    what: 'blocks',
    isLocal: true,
    shallow: 4,
    bytes: (steps) => activationBytesOf(noProp({ variant: 'dt', classes: 10, steps, block: block(), blocksAtOnce: 1 }), [784]),
  },
  {
    id: 'noprop-chain',
    name: 'backpropagation through the NoProp chain',
    what: 'blocks',
    isLocal: false,
    shallow: 4,
    bytes: (steps) => activationBytesOf(noPropBackpropagation({ classes: 10, steps, block: block() }), [784]),
  },
  {
    id: 'aug-local',
    name: 'AugLocal',
    what: 'layers',
    isLocal: true,
    shallow: 4,
    bytes: (layers) => activationBytesOf(augLocal({ layers: chain(layers), classes: 10, dMax: 2 }), image),
  },
  {
    id: 'convolutional',
    name: 'backpropagation, the same residual network',
    what: 'layers',
    isLocal: false,
    shallow: 4,
    bytes: (layers) =>
      activationBytesOf(
        backpropagation({ network: augLocal({ layers: chain(layers), classes: 10, dMax: 2 }).network, classes: 10 }),
        image,
      ),
  },
  {
    id: 'mono-forward',
    name: 'Mono-Forward',
    what: 'layers',
    isLocal: true,
    shallow: 4,
    bytes: (layers) => activationBytesOf(monoForward({ hidden: widths(layers), classes: 10, schedule: 'simultaneous' }), [784]),
  },
  {
    id: 'counter-current',
    name: 'counter-current learning',
    what: 'layers',
    isLocal: true,
    shallow: 4,
    bytes: (layers) => activationBytesOf(counterCurrentLearning({ classes: 10, hidden: widths(layers) }), [784]),
  },
  {
    id: 'perceptron',
    name: 'backpropagation, the same perceptron',
    what: 'layers',
    isLocal: false,
    shallow: 4,
    bytes: (layers) => activationBytesOf(backpropagation({ network: mlp({ hidden: widths(layers), outputs: 10 }), classes: 10 }), [784]),
  },
  {
    id: 'sltt',
    name: 'SLTT',
    what: 'time steps',
    isLocal: true,
    shallow: 4,
    bytes: (steps) => activationBytesOf(sltt({ network: spiking(), classes: 10, steps }), [784]),
  },
  {
    id: 'through-time',
    name: 'backpropagation through time',
    what: 'time steps',
    isLocal: false,
    shallow: 4,
    bytes: (steps) => activationBytesOf(sltt({ network: spiking(), classes: 10, steps, mode: 'bptt' }), [784]),
  },
]

/** `memory/<id>/shallow` and `memory/<id>/deep` of every method, in bytes for each example. */
export function depthMemory(): Record<string, number> {
  return Object.fromEntries(
    depthMethods.flatMap(({ id, bytes, shallow }) => [
      [`memory/${id}/shallow`, bytes(shallow)],
      [`memory/${id}/deep`, bytes(4 * shallow)],
    ]),
  )
}
