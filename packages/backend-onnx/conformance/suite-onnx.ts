import '../src/index'
import { testBackend } from './suite-common'
import { compileEachKernel } from './suite-compiled'
import { countKernels } from './suite-counts'

testBackend('onnx')
countKernels()
if (globalThis.conformance.compiled) compileEachKernel()
