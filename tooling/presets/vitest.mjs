import process from 'node:process'
import { defineConfig } from 'vitest/config'

const conditions = ['@bpf/source', 'module', 'node', 'development|production']

// Long tests run by name only (`npm run test:long`), never in a folder's whole run.
const long = process.env.BPF_LONG_TESTS === '1'

/**
 * The tests of every package: source of workspace packages (no build needed), one process per file, results also as JSON.
 *
 * @param {import('vitest/node').InlineConfig} overrides
 */
export function packageTests(overrides = {}) {
  return defineConfig({
    resolve: { conditions },
    ssr: { resolve: { conditions, externalConditions: ['@bpf/source', 'node'] } },
    test: {
      include: long ? ['**/*.long.test.{ts,mjs}'] : ['src/**/*.test.ts', 'test/**/*.test.ts'],
      exclude: ['**/node_modules/**', '**/dist/**', ...(long ? [] : ['**/*.long.test.*'])],
      environment: 'node',
      pool: 'forks',
      testTimeout: long ? 1_800_000 : 30_000,
      hookTimeout: long ? 1_800_000 : 30_000,
      reporters: ['default', ['json', { outputFile: '.vitest/results.json' }]],
      ...overrides,
    },
  })
}
