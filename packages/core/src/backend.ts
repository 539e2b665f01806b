import * as tf from '@tensorflow/tfjs-core'
import '@tensorflow/tfjs-backend-cpu'

/** What {@link useBackend} chose. */
export interface BackendChoice {
  name: string
  device: string
  threads: number
  why: string
}

export async function useBackend(name = 'cpu'): Promise<BackendChoice> {
  await tf.setBackend(name)
  await tf.ready()
  return { name, device: 'cpu', threads: 1, why: 'named' }
}
