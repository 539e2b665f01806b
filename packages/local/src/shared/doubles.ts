import { float64Tensor, isBpfError } from '@bpf/core'

/** Whether the backend in use computes in double precision. */
export function compilesDoubles(): boolean {
  try {
    float64Tensor(new Float64Array(1), [1]).dispose()
    return true
  } catch (error) {
    if (isBpfError(error, 'BackendError')) return false
    throw error
  }
}
