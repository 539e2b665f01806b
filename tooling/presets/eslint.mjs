import { defineConfig } from 'eslint/config'
import tseslint from 'typescript-eslint'
import { layersRule } from './layers-rule.mjs'

/**
 * The lint of the whole repository: type-aware rules for TypeScript, import directions everywhere.
 *
 * @param {string} root - absolute path of the repository
 */
export function repositoryLint(root) {
  const bpf = { rules: { layers: layersRule(root) } }
  return defineConfig(
    {
      ignores: [
        '**/dist/**',
        '**/.tsbuild/**',
        '**/.typedoc/**',
        '**/.vitest/**',
        '**/.turbo/**',
        '.tools/**',
        '.packs/**',
        'docs/api/**',
        '**/bpf-out/**',
      ],
    },
    { linterOptions: { reportUnusedDisableDirectives: 'error' } },
    {
      files: ['**/*.{ts,mjs}'],
      plugins: { bpf },
      rules: { 'bpf/layers': 'error', eqeqeq: 'error', 'no-var': 'error', 'prefer-const': 'error' },
    },
    {
      files: ['**/*.ts'],
      extends: [tseslint.configs.recommendedTypeChecked],
      languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: root } },
      rules: {
        // `typeof import('sharp')` is how an optional peer is typed without importing it.
        '@typescript-eslint/consistent-type-imports': ['error', { disallowTypeAnnotations: false }],
        '@typescript-eslint/consistent-type-exports': 'error',
        '@typescript-eslint/no-explicit-any': 'error',
        '@typescript-eslint/no-import-type-side-effects': 'error',
        // Records of functions are written with method syntax here, and none of them uses `this`.
        '@typescript-eslint/unbound-method': 'off',
        // These fire on generic numeric helpers and on `unknown` in error messages, where they are right but of no use.
        '@typescript-eslint/no-unnecessary-type-assertion': 'off',
        '@typescript-eslint/no-base-to-string': 'off',
        '@typescript-eslint/no-redundant-type-constituents': 'off',
        '@typescript-eslint/no-unnecessary-boolean-literal-compare': 'error',
        '@typescript-eslint/only-throw-error': 'error',
        '@typescript-eslint/prefer-promise-reject-errors': 'error',
        '@typescript-eslint/return-await': ['error', 'error-handling-correctness-only'],
        '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
        // An async method may be async only to fit an interface or to turn throws into rejections.
        '@typescript-eslint/require-await': 'off',
        '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_', ignoreRestSiblings: true }],
        '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true, allowArray: true }],
        'no-restricted-syntax': [
          'error',
          { selector: 'ExportDefaultDeclaration', message: 'No default exports: import by name, so that a name is the same everywhere.' },
        ],
      },
    },
    {
      // Randomness comes from keys, time and console belong to the edge.
      files: ['packages/*/src/**/*.ts'],
      ignores: ['**/*.test.ts', '**/*.long.test.ts', '**/__fixtures__/**', 'packages/core/src/node/**'],
      rules: {
        'no-console': 'error',
        'no-restricted-properties': ['error', { object: 'Math', property: 'random', message: 'Take a Key: nothing random is global.' }],
      },
    },
    {
      files: ['**/*.test.ts'],
      rules: {
        // Tests hand wrong values in on purpose and look at untyped JSON.
        '@typescript-eslint/no-unsafe-assignment': 'off',
        '@typescript-eslint/no-unsafe-argument': 'off',
        '@typescript-eslint/no-unsafe-member-access': 'off',
      },
    },
  )
}
