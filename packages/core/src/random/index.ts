export {
  bernoulliArray,
  bitsArray,
  categoricalArray,
  gammaArray,
  gumbelArray,
  normalArray,
  permutationArray,
  rademacherArray,
  randintArray,
  truncatedNormalArray,
  uniformArray,
} from './arrays'
export {
  bernoulli,
  bits,
  categorical,
  gamma,
  gumbel,
  normal,
  permutation,
  rademacher,
  randint,
  truncatedNormal,
  uniform,
  type CategoricalOptions,
} from './draws'
export { fold, key, split, threefry2x32, type Key } from './key'
export type { NormalOptions, RandintOptions, TruncatedNormalOptions, UniformOptions } from './options'
