/**
 * Who may import whom among the workspaces. Dependencies point one way:
 * ort-<os>-<cpu> ← backend-onnx ← core ← algorithm packages ← apps.
 */

/** Algorithm package → the algorithm packages its papers build on. A new entry needs such a paper. */
const algorithmImports = {
  imaging: ['diffusion'],
}

const coreImports = { 'backend-onnx': [/^ort-/], core: ['backend-onnx'] }

/**
 * Whether the workspace at `from` (`packages/calibration`, `apps/bench`, `tooling`) may import `@bpf/<to>`.
 *
 * @param {string} from
 * @param {string} to
 */
export function mayImport(from, to) {
  const [kind, name] = from.split('/')
  if (kind === 'tooling' || to === name) return true
  // Presets, for config files.
  if (to === 'tooling') return true
  if (to === 'bench') return false
  if (kind === 'apps') return true
  if (/^ort-/.test(name)) return false
  const allowed = coreImports[name] ?? ['core', ...(algorithmImports[name] ?? [])]
  return allowed.some((pattern) => (typeof pattern === 'string' ? pattern === to : pattern.test(to)))
}
