export { fitMonoForward, monoForward } from './mono-forward'
export type { MonoForwardLayer, MonoForwardOptions, MonoForwardState } from './mono-forward'
