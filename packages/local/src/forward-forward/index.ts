export { forwardForward, forwardForwardCoolDown } from './forward-forward'
export type { ForwardForward, ForwardForwardOptions, ForwardForwardState } from './forward-forward'
export type { ForwardForwardLayer, ForwardForwardParams, ForwardForwardThreshold } from './layers'
