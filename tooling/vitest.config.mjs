import { packageTests } from './presets/vitest.mjs'

export default packageTests(process.env.BPF_LONG_TESTS === '1' ? {} : { include: ['**/*.test.mjs'] })
