// `npm install` at the root would install nothing that is needed; say what to run instead. pnpm passes.
import process from 'node:process'

if (!/^pnpm\//.test(process.env.npm_config_user_agent ?? '')) {
  console.error('Nothing to install by hand: run `npm start` or `npm test`, they install what they need.')
  process.exitCode = 1
}
