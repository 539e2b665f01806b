import { packageTests } from '@bpf/tooling/vitest'

export default packageTests()
