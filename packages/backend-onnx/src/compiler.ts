import { account } from './account'
import { graphCond, graphScan, graphWhile } from './control'
import { gemm64 } from './dense'
import { exportOnnx, loadOnnx } from './model-file'
import { graphWords } from './random'
import { float64Tensor, hostInput, isTracing, keepUntilTraced, trace } from './trace'

/** What a package on top of this one (`@bpf/core`) needs to compile functions; it finds it on the backend, as `compiler`. */
export const compiler = {
  account,
  trace,
  isTracing,
  hostInput,
  float64Tensor,
  gemm64,
  keepUntilTraced,
  scan: graphScan,
  cond: graphCond,
  whileLoop: graphWhile,
  randomWords: graphWords,
  exportOnnx,
  loadOnnx,
}

/** See {@link compiler}. */
export type Compiler = typeof compiler
