import { defineConfig } from 'vitest/config'

const conditions = ['@bpf/source', 'module', 'node', 'development|production']

/**
 * The tests of every package: source of workspace packages (no build needed), one process per file.
 *
 * @param {import('vitest/node').InlineConfig} overrides
 */
export function packageTests(overrides = {}) {
  return defineConfig({
    resolve: { conditions },
    ssr: { resolve: { conditions, externalConditions: ['@bpf/source', 'node'] } },
    test: {
      include: ['src/**/*.test.ts', 'test/**/*.test.ts'],
      exclude: ['**/*.long.test.ts', '**/node_modules/**'],
      environment: 'node',
      pool: 'forks',
      testTimeout: 30_000,
      ...overrides,
    },
  })
}
