const strings = 'strings have no numeric representation in a graph'
const shapes = 'the shape of the result depends on values'
const constants = 'has no tensor inputs: the values are made once, in JavaScript'
const views = 'shares the values of its input; a native run would copy them'

/**
 * Kernels that run as the cpu backend does even where fallback is forbidden, each with the reason. The views have a
 * lowering too, for compiled functions.
 */
export const fallbackKernels: Readonly<Record<string, string>> = {
  Identity: views,
  Reshape: views,
  ExpandDims: views,
  Complex: views,
  Real: views,
  Imag: views,
  Fill: constants,
  Range: constants,
  LinSpace: constants,
  StaticRegexReplace: strings,
  StringNGrams: strings,
  StringSplit: strings,
  StringToHashBucketFast: strings,
  RaggedGather: shapes,
  RaggedRange: shapes,
  RaggedTensorToTensor: shapes,
  SparseFillEmptyRows: shapes,
  SparseReshape: 'arithmetic on shapes whose messages tell of bad values',
  SparseSegmentMean: shapes,
  SparseSegmentSum: shapes,
  BroadcastArgs: 'arithmetic on shapes whose messages tell of bad values',
  Unique: shapes,
  NonMaxSuppressionV3: shapes,
  NonMaxSuppressionV4: shapes,
  NonMaxSuppressionV5: shapes,
  Multinomial: 'draws from a seeded generator in JavaScript; compiled functions draw by keys',
  Draw: 'paints on a canvas',
}

/** Kernels whose result shares its values with an input: never worth a native run. */
export const viewKernels: ReadonlySet<string> = new Set(Object.keys(fallbackKernels).filter((kernel) => fallbackKernels[kernel] === views))
