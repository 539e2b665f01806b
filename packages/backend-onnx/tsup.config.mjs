import { packageBuild } from '@bpf/tooling/tsup'

// Of protobufjs (4 MB) only the encoder is used: it is bundled (7 kB), with its licence in THIRD_PARTY.md.
export default packageBuild(
  { index: 'src/index.ts', testing: 'src/testing/index.ts' },
  { platform: 'node', noExternal: [/^protobufjs/, /^@protobufjs/] },
)
