import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm'
import { testBackend } from './suite-common'

setWasmPaths(globalThis.conformance.binaries)
testBackend('wasm')
