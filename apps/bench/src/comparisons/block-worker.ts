/** A thread that trains some blocks of a NoProp network and answers with their weights; see independence.ts. */
import { parentPort, workerData } from 'node:worker_threads'
import { trainBlocks, type BlockTask } from './block-training'

const port = parentPort
if (port === null) throw new Error('block-worker.js runs in a worker thread: see independence.ts')
const ready = await trainBlocks(workerData as BlockTask)
port.postMessage('ready')
await new Promise((resolve) => port.once('message', resolve))
port.postMessage(await ready())
