/** Kernels of TensorFlow.js that have no gradient here, with the reason. Asking for one throws. */
export const notDifferentiable: Readonly<Record<string, string>> = {
  BitwiseAnd: 'acts on the bits of integers',
  BroadcastArgs: 'computes a shape from shapes',
  Draw: 'writes to a canvas',
  Fill: 'has no tensor input',
  FusedConv2D: 'runs only inside tf.fused.conv2d, which records a differentiable form of itself',
  FusedDepthwiseConv2D: 'runs only inside tf.fused.depthwiseConv2d, which records a differentiable form of itself',
  _FusedMatMul: 'runs only inside tf.fused.matMul, which records a differentiable form of itself',
  LinSpace: 'has no tensor input',
  Multinomial: 'draws samples; use a score-function or Gumbel estimator',
  NonMaxSuppressionV3: 'selects box indices',
  NonMaxSuppressionV4: 'selects box indices',
  NonMaxSuppressionV5: 'selects box indices; gather the scores by them instead',
  RaggedGather: 'takes a list of tensors as one input, which the tape cannot follow',
  RaggedRange: 'computes index ranges',
  RaggedTensorToTensor: 'takes a list of tensors as one input, which the tape cannot follow',
  Range: 'has no tensor input',
  ResizeBilinearGrad: 'is wrong for images that are not square, and our gradients do not use it',
  ResizeNearestNeighborGrad: 'is wrong when shrinking, and our gradients do not use it',
  SearchSorted: 'returns integer positions',
  SparseReshape: 'computes integer coordinates',
  StaticRegexReplace: 'acts on strings',
  StringNGrams: 'acts on strings',
  StringSplit: 'acts on strings',
  StringToHashBucketFast: 'acts on strings',
  Unique: 'removes duplicates: which of several equal entries is kept is arbitrary',
}

/** Kernels whose gradient is right but cannot be differentiated again; asking for that throws. */
export const onceDifferentiable: Readonly<Record<string, string>> = {
  ComplexAbs: 'TensorFlow.js drops the imaginary part of what reaches a saved complex tensor; use the real and imaginary parts',
}
