export { fold, key, split, threefry2x32, type Key } from './key'
