import * as tf from '@tensorflow/tfjs-core'
import { describe, expect, it } from 'vitest'
import './index'
import { fallbackKernels, viewKernels } from './fallback-kernels'
import { loweringOf } from './lowering'

const cpuKernels = tf.getKernelsForBackend('cpu').map(({ kernelName }) => kernelName)

describe('the list of kernels that run in JavaScript', () => {
  it('holds every kernel of the cpu backend that has no lowering, and no other', () => {
    const withoutLowering = cpuKernels.filter((kernel) => loweringOf(kernel) === undefined)
    const listed = Object.keys(fallbackKernels).filter((kernel) => !viewKernels.has(kernel))
    expect(listed.sort()).toEqual(withoutLowering.sort())
  })

  it('holds views, which have a lowering for compiled functions', () => {
    for (const kernel of viewKernels) expect(loweringOf(kernel), kernel).toBeDefined()
  })
})
