// Every root script starts here: `node tooling/bootstrap/run.mjs <task> [args…]`. Needs nothing but Node and npm.
// This file must also parse on an old Node, so that the message below is what its user reads.
import process from 'node:process'

const [major, minor] = process.versions.node.split('.').map(Number)
if (major < 20 || (major === 20 && minor < 19)) {
  console.error(
    `This repository needs Node 20.19 or newer, this is Node ${process.versions.node}: install a newer one from https://nodejs.org.`,
  )
  process.exit(1)
}

const { runTask } = await import('./tasks.mjs')
process.exitCode = await runTask(process.argv[2], process.argv.slice(3))
