export * from './backpropagation'
export * from './classifier'
export * from './gradient-boosted-network'
