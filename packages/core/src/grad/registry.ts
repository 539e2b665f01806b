import * as tf from '@tensorflow/tfjs-core'
import { convolutionGradients } from './convolution'
import { elementwiseGradients } from './elementwise'
import { gatherScatterGradients } from './gather-scatter'
import { imageGradients } from './image'
import { lossGradients } from './losses'
import { matmulGradients } from './matmul'
import { morphologyGradients } from './morphology'
import { normalisationGradients } from './normalisation'
import { poolingGradients } from './pooling'
import { reductionGradients } from './reduction'
import { shapeGradients } from './shape'
import { sparseGradients } from './sparse'
import { spectralGradients } from './spectral'

const table: tf.GradConfig[] = [
  ...elementwiseGradients,
  ...reductionGradients,
  ...matmulGradients,
  ...convolutionGradients,
  ...poolingGradients,
  ...shapeGradients,
  ...gatherScatterGradients,
  ...normalisationGradients,
  ...morphologyGradients,
  ...imageGradients,
  ...sparseGradients,
  ...spectralGradients,
  ...lossGradients,
]

/**
 * Puts our gradients into TensorFlow.js's registry, in place of any that are there; every one can be differentiated
 * again. Importing '@bpf/core/grad' does it once; do it again if another library has registered its own since
 * (`import '@tensorflow/tfjs'` does).
 */
export function registerGradients(): void {
  for (const gradient of table) {
    // Replacing without removing prints a warning for each kernel.
    if (tf.getGradient(gradient.kernelName)) tf.unregisterGradient(gradient.kernelName)
    tf.registerGradient(gradient)
  }
}

registerGradients()
