// `prepack` of every package. Plain npm would leave `workspace:` and `catalog:` in the manifest, which nobody could install.
import process from 'node:process'

if (!/^pnpm\//.test(process.env.npm_config_user_agent ?? '')) {
  console.error(
    'Pack with `npm run pack` at the root of the repository: npm itself would leave `workspace:` and `catalog:` in package.json.',
  )
  process.exitCode = 1
}
