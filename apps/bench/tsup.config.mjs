import { packageBuild } from '@bpf/tooling/tsup'

export default packageBuild({ main: 'src/main.ts' }, { platform: 'node', dts: false })
