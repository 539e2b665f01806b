/**
 * Tells the user something that is not an error: by `process.emitWarning` in Node, where a program can listen for it or
 * silence it, on the console elsewhere.
 */
export function warn(message: string): void {
  const { process } = globalThis as { process?: { emitWarning?: (text: string, type: string) => void } }
  if (process?.emitWarning !== undefined) process.emitWarning(message, 'BpfWarning')
  // eslint-disable-next-line no-console -- browsers have no other place for warnings
  else console.warn(message)
}
