import '@tensorflow/tfjs-backend-cpu'
import { testBackend } from './suite-common'

testBackend('cpu')
