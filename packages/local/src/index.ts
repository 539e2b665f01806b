export * from './gradient-boosted-network'
