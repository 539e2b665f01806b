export { deserialize, readSafetensors, serialize, type DeserializeOptions, type Saved, type SerializeOptions } from './serialize'
export { memoryCheckpoints } from './memory-checkpoints'
export type { Sha256 } from './safetensors'
