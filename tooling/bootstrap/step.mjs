// Work that the user waits for: says what runs and how long it took, and shows its output only when it fails.
import process from 'node:process'

/** An error whose message is all that the user should read. */
export class TaskError extends Error {}

/**
 * Runs a captured child process as a named step; steps under half a second stay silent.
 *
 * @param {string} label
 * @param {() => Promise<{ status: number, output: string }>} run
 * @param {Record<string, string>} [remedies] - what to do when the output holds this text
 * @throws TaskError when the status is not 0, after printing the output
 */
export async function step(label, run, remedies = {}) {
  const started = Date.now()
  const seconds = () => `${Math.round((Date.now() - started) / 1000)} s`
  let announced = false
  const say = (text) => {
    announced = true
    process.stderr.write(`${text}\n`)
  }
  const announce = setTimeout(() => say(`${label} …`), 500)
  const still = setInterval(() => say(`${label}: ${seconds()} so far …`), 15_000)
  const { status, output } = await run().finally(() => {
    clearTimeout(announce)
    clearInterval(still)
  })
  if (status === 0) {
    if (announced) say(`${label}: done in ${seconds()}`)
    return
  }
  process.stderr.write(output)
  const remedy = Object.entries(remedies).find(([text]) => output.includes(text))?.[1]
  throw new TaskError(`${label} failed (status ${status}): ${remedy ?? 'its output is above.'}`)
}
