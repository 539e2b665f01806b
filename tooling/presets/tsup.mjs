import { defineConfig } from 'tsup'

/**
 * The build of every publishable package: ESM only, shared chunks (one copy of every registry), types, source maps.
 *
 * @param {Record<string, string>} entry - output name → source file
 * @param {import('tsup').Options} overrides
 */
export function packageBuild(entry, overrides = {}) {
  return defineConfig({
    entry,
    format: 'esm',
    target: 'es2022',
    platform: 'neutral',
    splitting: true,
    sourcemap: true,
    // The maps point to src, which is published too: a second copy of it inside them would only be weight.
    esbuildOptions: (options) => {
      options.sourcesContent = false
    },
    clean: true,
    // Nothing is bundled: a bundled dependency would be a second copy of its registries.
    skipNodeModulesBundle: true,
    external: [/^node:/],
    dts: { compilerOptions: { composite: false, incremental: false, emitDeclarationOnly: false, sourceMap: false } },
    ...overrides,
  })
}
