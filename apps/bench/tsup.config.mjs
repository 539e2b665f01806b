import { packageBuild } from '@bpf/tooling/tsup'

export default packageBuild({ main: 'src/main.ts', 'block-worker': 'src/comparisons/block-worker.ts' }, { platform: 'node', dts: false })
