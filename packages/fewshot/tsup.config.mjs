import { packageBuild } from '@bpf/tooling/tsup'

export default packageBuild({ index: 'src/index.ts' })
