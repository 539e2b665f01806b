import * as tf from '@tensorflow/tfjs-core'
import { OptionError, ShapeError } from '../errors'
import { fold } from '../random/key'
import { lambda, type Empty, type Layer, type ParamsOf, type Shape, type StateOf } from './layer'
import type { Tree } from '../tree'

/** Parameters of a list of layers, in its order. */
export type ParamsList<L extends readonly Layer[]> = { readonly [I in keyof L]: ParamsOf<L[I]> } & readonly Tree[]
/** States of a list of layers, in its order. */
export type StateList<L extends readonly Layer[]> = { readonly [I in keyof L]: StateOf<L[I]> } & readonly Tree[]

/**
 * Layers one after the other. Layer i gets the key `fold(key, i)`, in `init` as in `apply`.
 *
 * @returns a layer whose `params` and `state` are lists, one entry per layer, typed accordingly
 *
 * @example
 * ```ts
 * const network = sequential([dense(64), relu(), dense(10)])
 * const { params, state } = network.init(random.key(0), [784])
 * params[0].kernel // [784, 64]
 * ```
 */
export function sequential<const L extends readonly Layer[]>(layers: L): Layer<ParamsList<L>, StateList<L>> {
  return {
    init: (key, inputShape) => {
      let outputShape = inputShape
      const parts = layers.map((layer, i) => {
        const part = layer.init(fold(key, i), outputShape)
        outputShape = part.outputShape
        return part
      })
      return {
        params: parts.map((part) => part.params) as ParamsList<L>,
        state: parts.map((part) => part.state) as StateList<L>,
        outputShape,
      }
    },
    apply: (params, state, x, { key, training }) => {
      let y = x
      const states = layers.map((layer, i) => {
        const result = layer.apply(params[i], state[i], y, {
          key: key === undefined ? undefined : fold(key, i),
          training,
        })
        y = result.y
        return result.state
      })
      return { y: layers.length === 0 ? x.clone() : y, state: states as StateList<L> }
    },
  }
}

/** Parameters (or states) of {@link residual}. */
export type Residual<Body extends Tree, Shortcut extends Tree> = { body: Body; shortcut: Shortcut }

/**
 * y = body(x) + shortcut(x).
 *
 * @param options.shortcut - a layer to the body's output shape, such as a strided 1×1 convolution. Default: x itself.
 * @returns a layer with params `{ body, shortcut }`
 * @throws ShapeError when the two shapes differ
 * @see He et al., "Deep residual learning for image recognition", 2016, arXiv:1512.03385
 */
export function residual<PB extends Tree, SB extends Tree, PS extends Tree = Empty, SS extends Tree = Empty>(
  body: Layer<PB, SB>,
  options: { shortcut?: Layer<PS, SS> } = {},
): Layer<Residual<PB, PS>, Residual<SB, SS>> {
  const shortcut = options.shortcut ?? (lambda((x) => x.clone()) as unknown as Layer<PS, SS>)
  return {
    init: (key, inputShape) => {
      const main = body.init(fold(key, 0), inputShape)
      const side = shortcut.init(fold(key, 1), inputShape)
      if (!tf.util.arraysEqual([...main.outputShape], [...side.outputShape])) {
        throw new ShapeError(
          `residual: the body turns [${inputShape.join(', ')}] into [${main.outputShape.join(', ')}] but the shortcut into [${side.outputShape.join(', ')}]; ` +
            'pass a shortcut that projects',
        )
      }
      return {
        params: { body: main.params, shortcut: side.params },
        state: { body: main.state, shortcut: side.state },
        outputShape: main.outputShape,
      }
    },
    apply: (params, state, x, { key, training }) => {
      const main = body.apply(params.body, state.body, x, { key: key && fold(key, 0), training })
      const side = shortcut.apply(params.shortcut, state.shortcut, x, { key: key && fold(key, 1), training })
      return { y: tf.add(main.y, side.y), state: { body: main.state, shortcut: side.state } }
    },
  }
}

/**
 * Several layers side by side on the same input, their outputs concatenated along the last axis or added.
 *
 * @returns a layer whose `params` and `state` are lists, one entry per layer
 * @throws ShapeError when the outputs can't be joined
 */
export function parallel<const L extends readonly Layer[]>(
  layers: L,
  options: { join: 'concat' | 'add' },
): Layer<ParamsList<L>, StateList<L>> {
  if (layers.length === 0) throw new OptionError('parallel: expected at least one layer')
  const { join } = options
  const joinShapes = (shapes: readonly Shape[]): Shape => {
    const comparable = shapes.map((shape) => (join === 'add' ? shape : shape.slice(0, -1)).join(','))
    if (comparable.some((shape) => shape !== comparable[0])) {
      throw new ShapeError(`parallel: outputs [${shapes.map((shape) => shape.join(', ')).join('] and [')}] can't be joined by '${join}'`)
    }
    if (join === 'add') return shapes[0]
    return [...shapes[0].slice(0, -1), shapes.reduce((total, shape) => total + shape[shape.length - 1], 0)]
  }
  return {
    init: (key, inputShape) => {
      const parts = layers.map((layer, i) => layer.init(fold(key, i), inputShape))
      return {
        params: parts.map((part) => part.params) as ParamsList<L>,
        state: parts.map((part) => part.state) as StateList<L>,
        outputShape: joinShapes(parts.map((part) => part.outputShape)),
      }
    },
    apply: (params, state, x, { key, training }) => {
      const results = layers.map((layer, i) => layer.apply(params[i], state[i], x, { key: key && fold(key, i), training }))
      const outputs = results.map((result) => result.y)
      const y = join === 'add' ? tf.addN(outputs) : tf.concat(outputs, -1)
      return { y, state: results.map((result) => result.state) as StateList<L> }
    },
  }
}
