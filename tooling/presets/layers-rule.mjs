// The ESLint rule `bpf/layers`: keeps the import directions of docs/decisions and the architecture, with messages that say where to go.
import { isBuiltin } from 'node:module'
import { relative, resolve, dirname, sep } from 'node:path'
import { mayImport } from './layers.mjs'

/** @param {string} root - absolute path of the repository */
export function layersRule(root) {
  return {
    meta: { type: 'problem', schema: [], messages: { forbidden: '{{reason}}' } },
    create(context) {
      const file = relative(root, context.filename).split(sep).join('/')
      const check = (node) => {
        if (typeof node?.value !== 'string') return
        const reason = forbidden(root, file, node.value)
        if (reason !== undefined) context.report({ node, messageId: 'forbidden', data: { reason } })
      }
      return {
        ImportDeclaration: (node) => check(node.source),
        ExportNamedDeclaration: (node) => check(node.source),
        ExportAllDeclaration: (node) => check(node.source),
        ImportExpression: (node) => check(node.source),
        TSImportType: (node) => check(node.source),
      }
    },
  }
}

/** Source that runs in Node only: core's files and checkpoints, and the backend on a native library. */
const needsNode = /^packages\/(core\/src\/node|backend-onnx\/src)\//

/** Why `file` (path from the root) may not import `source`, or undefined when it may. */
export function forbidden(root, file, source) {
  const workspace = /^((packages|apps)\/[^/]+|tooling)\//.exec(file)?.[1]
  if (workspace === undefined) return undefined
  // TensorFlow.js's own kernel tests are files of its package; they are bundled with one copy of it.
  const isConformance = file.startsWith('packages/backend-onnx/conformance/')
  if (!isConformance && /^@tensorflow\/[^/]+\/(dist|src)(\/|$)/.test(source)) {
    return `'${source}' is not public: a second copy of its registries would be loaded. Import from the package's entry.`
  }
  const scoped = /^@bpf\/([^/]+)/.exec(source)
  if (scoped !== null && scoped[1] === workspace.split('/')[1] && isSource(file)) {
    return `'${source}' is this package itself: import the module by its relative path.`
  }
  if (scoped !== null && !mayImport(workspace, scoped[1])) {
    return `${workspace} may not import '${source}': ort-* ← backend-onnx ← core ← algorithm packages ← apps (tooling/presets/layers.mjs).`
  }
  if (source.startsWith('.')) {
    const target = relative(root, resolve(root, dirname(file), source))
      .split(sep)
      .join('/')
    if (workspace !== 'tooling' && target !== workspace && !target.startsWith(`${workspace}/`)) {
      return `'${source}' leaves ${workspace}: import the other package by its name, through its exports.`
    }
    if (
      workspace === 'packages/core' &&
      isSource(file) &&
      !file.startsWith('packages/core/src/node/') &&
      /^packages\/core\/src\/node(\/|$)/.test(target)
    ) {
      return `'${source}' needs Node: only @bpf/core/node may, the rest of core runs in browsers.`
    }
  }
  if (isBuiltin(source) && file.startsWith('packages/') && isSource(file) && !needsNode.test(file)) {
    return `'${source}' is Node only: packages run in browsers; files and checkpoints live in packages/core/src/node.`
  }
  return undefined
}

/** Published source, as opposed to tests and config files. */
function isSource(file) {
  return /^(packages|apps)\/[^/]+\/src\//.test(file) && !/\.test\.ts$/.test(file) && !file.includes('/__fixtures__/')
}
