import { packageBuild } from '@bpf/tooling/tsup'

export default packageBuild({
  index: 'src/index.ts',
  nn: 'src/nn/index.ts',
  optim: 'src/optim/index.ts',
  random: 'src/random/index.ts',
  grad: 'src/grad/index.ts',
  data: 'src/data/index.ts',
  linalg: 'src/linalg/index.ts',
  'linalg/tensor': 'src/linalg/tensor.ts',
  solve: 'src/solve/index.ts',
  ops: 'src/ops/index.ts',
  numerics: 'src/numerics/index.ts',
  metrics: 'src/metrics/index.ts',
  testing: 'src/testing/index.ts',
  node: 'src/node/index.ts',
})
