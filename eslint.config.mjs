import { repositoryLint } from './tooling/presets/eslint.mjs'

export default repositoryLint(import.meta.dirname)
