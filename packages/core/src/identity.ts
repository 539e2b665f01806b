/**
 * One copy of core per process: registries, keys and error markers are shared state, and a second copy
 * (two versions installed, or a bundle beside a package) would fail later and strangely.
 */
const mark = Symbol.for('@bpf/core')

const here = import.meta.url.replace(/[?#].*$/, '')
const holder = globalThis as { [mark]?: string }
const other = holder[mark]
if (other !== undefined && other !== here) {
  throw Object.assign(
    new Error(
      `BpfError: two copies of @bpf/core are loaded: ${other} and ${here}. Run \`npm ls @bpf/core\` and make all packages share one version.`,
    ),
    { name: 'BpfError', [Symbol.for('@bpf/error')]: true },
  )
}
holder[mark] = here

export {}
