import * as tf from '@tensorflow/tfjs-core'

/** A call of one kernel on float inputs away from kinks and ties. */
export type KernelExample = { kernel: string; name: string; inputs: tf.Tensor[]; run: (inputs: tf.Tensor[]) => tf.Tensor }

/** Smooth inputs between `low` and `high`. */
function uniform(shape: number[], low = -1, high = 1, seed = 5): tf.Tensor {
  return tf.randomUniform(shape, low, high, 'float32', seed + shape.length)
}

/** Distinct inputs at least 0.1 apart and at least 0.05 from zero, so that a small step changes no order and no sign. */
function spaced(shape: number[], seed = 7): tf.Tensor {
  const size = shape.reduce((a, b) => a * b, 1)
  const order = Array.from(tf.randomUniform([size], 0, 1, 'float32', seed).dataSync(), (value, i) => ({ value, i }))
  order.sort((a, b) => a.value - b.value)
  const values = new Float32Array(size)
  order.forEach(({ i }, rank) => (values[i] = (rank - Math.floor(size / 2) + 0.5) * 0.1))
  return tf.tensor(values, shape)
}

/** Runs a kernel without a public function. */
function kernel(name: string, inputs: Record<string, tf.Tensor>, attributes: Record<string, unknown> = {}): tf.Tensor {
  return tf.engine().runKernel(name, inputs, attributes as tf.NamedAttrMap)
}

function example(name: string, inputs: tf.Tensor[], run: (inputs: tf.Tensor[]) => tf.Tensor): KernelExample {
  return { kernel: name.split(' ')[0], name, inputs, run }
}

function unary(name: string, fn: (x: tf.Tensor) => tf.Tensor, x: tf.Tensor): KernelExample {
  return example(name, [x], ([input]) => fn(input))
}

function binary(name: string, fn: (a: tf.Tensor, b: tf.Tensor) => tf.Tensor, a: tf.Tensor, b: tf.Tensor): KernelExample[] {
  const row = tf.slice(b, [0, 0], [1, b.shape[1] as number])
  return [
    example(name, [a, b], ([x, y]) => fn(x, y)),
    example(`${name} (broadcast)`, [a, tf.reshape(row, [row.size])], ([x, y]) => fn(x, y)),
    example(`${name} (broadcast first)`, [row, a], ([x, y]) => fn(x, y)),
  ]
}

const int = (values: number[], shape: number[]): tf.Tensor => tf.tensor(values, shape, 'int32')

function elementwise(): KernelExample[] {
  const any = uniform([3, 4])
  const positive = uniform([3, 4], 0.5, 1.5)
  const inside = uniform([3, 4], -0.7, 0.7)
  const apart = spaced([3, 4])
  const [left, right] = tf.split(spaced([6, 4]), 2)
  const a = uniform([3, 4], -1, 1, 1)
  const b = uniform([3, 4], 0.5, 1.5, 2)
  return [
    ...binary('Add', tf.add, a, b),
    ...binary('Sub', tf.sub, a, b),
    ...binary('Multiply', tf.mul, a, b),
    ...binary('RealDiv', tf.div, b, tf.add(b, 0.3)),
    ...binary('SquaredDifference', tf.squaredDifference, a, b),
    ...binary('Pow', tf.pow, b, tf.add(b, 0.3)),
    ...binary('Atan2', tf.atan2, b, tf.add(b, 0.3)),
    example('Maximum', [left, right], ([x, y]) => tf.maximum(x, y)),
    example('Minimum', [left, right], ([x, y]) => tf.minimum(x, y)),
    example('Mod', [uniform([3, 4], 1.2, 1.8), uniform([3, 4], 0.9, 1.1)], ([x, y]) => tf.mod(x, y)),
    example('FloorDiv', [uniform([3, 4], 1.2, 1.8), uniform([3, 4], 0.9, 1.1)], ([x, y]) => tf.floorDiv(x, y)),
    example('AddN', [a, b, any], (xs) => tf.addN(xs)),
    ...(['equal', 'notEqual', 'greater', 'greaterEqual', 'less', 'lessEqual'] as const).map((op) =>
      example(op[0].toUpperCase() + op.slice(1), [left, right], ([x, y]) => tf.mul(x, tf.cast(tf[op](x, y), 'float32'))),
    ),
    example('LogicalAnd', [apart], ([x]) => tf.mul(x, tf.cast(tf.logicalAnd(tf.greater(x, -0.2), tf.less(x, 0.3)), 'float32'))),
    example('LogicalOr', [apart], ([x]) => tf.mul(x, tf.cast(tf.logicalOr(tf.greater(x, 0.2), tf.less(x, -0.3)), 'float32'))),
    unary('LogicalNot', (x) => tf.mul(x, tf.cast(tf.logicalNot(tf.greater(x, 0)), 'float32')), apart),
    unary('Neg', tf.neg, any),
    unary('Square', tf.square, any),
    unary('Reciprocal', tf.reciprocal, positive),
    unary('Log', tf.log, positive),
    unary('Log1p', tf.log1p, positive),
    unary('Exp', tf.exp, any),
    unary('Expm1', tf.expm1, any),
    unary('Sqrt', tf.sqrt, positive),
    unary('Rsqrt', tf.rsqrt, positive),
    unary('Abs', tf.abs, apart),
    unary('Sin', tf.sin, any),
    unary('Cos', tf.cos, any),
    unary('Tan', tf.tan, inside),
    unary('Asin', tf.asin, inside),
    unary('Acos', tf.acos, inside),
    unary('Atan', tf.atan, any),
    unary('Sinh', tf.sinh, any),
    unary('Cosh', tf.cosh, any),
    unary('Tanh', tf.tanh, any),
    unary('Asinh', tf.asinh, any),
    unary('Acosh', tf.acosh, tf.add(positive, 1)),
    unary('Atanh', tf.atanh, inside),
    unary('Erf', tf.erf, any),
    unary('Sigmoid', tf.sigmoid, any),
    unary('Relu', tf.relu, apart),
    unary('Relu6', (x) => tf.relu6(tf.add(x, 5.9)), tf.mul(apart, 1.1)),
    unary('LeakyRelu', (x) => tf.leakyRelu(x, 0.3), apart),
    unary('Softplus', tf.softplus, any),
    unary('Elu', tf.elu, apart),
    example('EluGrad', [any, apart], ([dy, y]) => kernel('EluGrad', { dy, y })),
    unary('Selu', tf.selu, apart),
    example('Prelu', [apart, positive], ([x, alpha]) => tf.prelu(x, alpha)),
    example('Prelu (broadcast)', [apart, uniform([4], 0.1, 0.5)], ([x, alpha]) => tf.prelu(x, alpha)),
    unary('ClipByValue', (x) => tf.clipByValue(x, -0.3, 0.4), apart),
    example('Select', [apart, a, b], ([x, y, z]) => tf.where(tf.greater(x, 0), y, z)),
    unary('Cast', (x) => tf.mul(x, tf.cast(tf.cast(x, 'int32'), 'float32')), uniform([3, 4], 1.2, 1.8)),
    unary('Identity', (x) => kernel('Identity', { x }), any),
    unary('Identity (clone)', (x) => tf.clone(x), any),
    ...(['ceil', 'floor', 'round', 'sign', 'step'] as const).map((op) =>
      unary(op[0].toUpperCase() + op.slice(1), (x) => tf.mul(x, tf[op](x)), apart),
    ),
    unary('IsNan', (x) => tf.mul(x, tf.cast(tf.isNaN(x), 'float32')), any),
    unary('IsInf', (x) => tf.mul(x, tf.cast(tf.isInf(x), 'float32')), any),
    unary('IsFinite', (x) => tf.mul(x, tf.cast(tf.isFinite(x), 'float32')), any),
    unary('ZerosLike', (x) => tf.add(x, tf.zerosLike(x)), any),
    unary('OnesLike', (x) => tf.mul(x, tf.onesLike(x)), any),
  ]
}

function reductions(): KernelExample[] {
  const x = uniform([2, 3, 4])
  const positive = uniform([2, 3, 4], 0.6, 1.4)
  const apart = spaced([2, 3, 4])
  const withZeros = tf.mul(positive, tf.tensor([1, 0, 1, 1], [4]))
  return [
    unary('Sum', (t) => tf.sum(t, [0, 2]), x),
    unary('Sum (all)', (t) => tf.sum(t), x),
    unary('Sum (kept)', (t) => tf.sum(t, -1, true), x),
    unary('Mean', (t) => tf.mean(t, 1), x),
    unary('Mean (all)', (t) => tf.mean(t), x),
    unary('Max', (t) => tf.max(t, 1), apart),
    unary('Max (all, kept)', (t) => tf.max(t, undefined, true), apart),
    unary('Max (log-sum-exp)', (t) => tf.logSumExp(t, 1), apart),
    unary('Min', (t) => tf.min(t, [0, 2], true), apart),
    unary('Prod', (t) => tf.prod(t, 1), positive),
    unary('Prod (all)', (t) => tf.prod(t), positive),
    unary('Prod (zeros)', (t) => tf.prod(t, 2), withZeros),
    unary('Prod (several axes)', (t) => tf.prod(t, [0, 2]), positive),
    unary('Cumsum', (t) => tf.cumsum(t, 1), x),
    unary('Cumsum (exclusive, reverse)', (t) => tf.cumsum(t, 2, true, true), x),
    ...[
      [false, false],
      [true, false],
      [false, true],
      [true, true],
    ].flatMap(([exclusive, reverse]) => [
      unary(`Cumprod (exclusive ${exclusive}, reverse ${reverse})`, (t) => tf.cumprod(t, 1, exclusive, reverse), positive),
      unary(`Cumprod (zeros, exclusive ${exclusive}, reverse ${reverse})`, (t) => tf.cumprod(t, 2, exclusive, reverse), withZeros),
    ]),
    unary('Softmax', (t) => tf.softmax(t), x),
    unary('TopK', (t) => tf.topk(t, 2).values, apart),
    unary('All', (t) => tf.mul(t, tf.cast(tf.all(tf.greater(t, 0), 2, true), 'float32')), apart),
    unary('Any', (t) => tf.mul(t, tf.cast(tf.any(tf.greater(t, 0), 2, true), 'float32')), apart),
    unary('ArgMax', (t) => tf.mul(tf.sum(t, 1), tf.cast(tf.argMax(t, 1), 'float32')), apart),
    unary('ArgMin', (t) => tf.mul(tf.sum(t, 1), tf.cast(tf.argMin(t, 1), 'float32')), apart),
  ]
}

function products(): KernelExample[] {
  const forms = [false, true].flatMap((ta) => [false, true].map((tb) => [ta, tb]))
  const equations: [string, number[][]][] = [
    [
      'ij,jk->ik',
      [
        [2, 3],
        [3, 4],
      ],
    ],
    [
      'bij,bjk->bki',
      [
        [2, 2, 3],
        [2, 3, 4],
      ],
    ],
    ['ij->i', [[2, 3]]],
    ['ij->ji', [[2, 3]]],
    [
      'ij,jk->i',
      [
        [2, 3],
        [3, 4],
      ],
    ],
    ['ijk,j->ki', [[2, 3, 4], [3]]],
    ['i,j->ij', [[2], [3]]],
    [
      'ij,ij->',
      [
        [2, 3],
        [2, 3],
      ],
    ],
  ]
  return [
    ...forms.map(([ta, tb]) =>
      example(`BatchMatMul (${ta}, ${tb})`, [uniform(ta ? [2, 4, 3] : [2, 3, 4]), uniform(tb ? [2, 5, 4] : [2, 4, 5])], ([a, b]) =>
        tf.matMul(a, b, ta, tb),
      ),
    ),
    example('BatchMatMul (broadcast)', [uniform([2, 3, 4]), uniform([1, 4, 2])], ([a, b]) => tf.matMul(a, b)),
    ...equations.map(([equation, shapes]) =>
      example(
        `Einsum (${equation})`,
        shapes.map((shape, i) => uniform(shape, -1, 1, i)),
        (xs) => tf.einsum(equation, ...xs),
      ),
    ),
  ]
}

function convolutions(): KernelExample[] {
  const attributes = { dataFormat: 'NHWC', dilations: [1, 1] }
  const variants: [string, number, 'same' | 'valid', number][] = [
    ['same', 1, 'same', 1],
    ['valid, stride 2', 2, 'valid', 1],
    ['same, stride 2', 2, 'same', 1],
    ['dilation 2', 1, 'same', 2],
  ]
  const x = uniform([2, 5, 6, 2])
  const filter = uniform([3, 2, 2, 3], -0.5, 0.5)
  const depthwise = uniform([3, 2, 2, 2], -0.5, 0.5, 9)
  const volume = uniform([1, 4, 3, 4, 2])
  const filter3d = uniform([2, 2, 2, 2, 2], -0.5, 0.5)
  const down = { ...attributes, strides: [2, 2], pad: 'same' }
  const down3d = { strides: [2, 2, 2], pad: 'same', dilations: [1, 1, 1], dataFormat: 'NDHWC' }
  return [
    ...variants.flatMap(([label, stride, pad, dilation]) => [
      example(`Conv2D (${label})`, [x, filter], ([a, f]) => tf.conv2d(a as tf.Tensor4D, f as tf.Tensor4D, stride, pad, 'NHWC', dilation)),
      example(`DepthwiseConv2dNative (${label})`, [x, depthwise], ([a, f]) =>
        tf.depthwiseConv2d(a as tf.Tensor4D, f as tf.Tensor4D, stride, pad, 'NHWC', dilation),
      ),
    ]),
    example('Conv2D (explicit padding)', [x, filter], ([a, f]) =>
      tf.conv2d(a as tf.Tensor4D, f as tf.Tensor4D, 1, [
        [0, 0],
        [1, 0],
        [2, 1],
        [0, 0],
      ]),
    ),
    example('Conv2D (rows left over)', [uniform([1, 6, 7, 2]), filter], ([a, f]) =>
      tf.conv2d(a as tf.Tensor4D, f as tf.Tensor4D, 2, 'valid'),
    ),
    example('DepthwiseConv2dNative (rows left over)', [uniform([1, 6, 7, 2]), depthwise], ([a, f]) =>
      tf.depthwiseConv2d(a as tf.Tensor4D, f as tf.Tensor4D, 2, 'valid'),
    ),
    example('Conv2DBackpropInput', [uniform([2, 3, 3, 3]), filter], ([dy, f]) =>
      tf.conv2dTranspose(dy as tf.Tensor4D, f as tf.Tensor4D, [2, 5, 6, 2], 2, 'same'),
    ),
    example('Conv2DBackpropFilter', [x, uniform([2, 3, 3, 3])], ([a, dy]) =>
      kernel('Conv2DBackpropFilter', { x: a, dy }, { ...down, filterShape: [3, 2, 2, 3] }),
    ),
    example('DepthwiseConv2dNativeBackpropInput', [uniform([2, 3, 3, 4]), depthwise], ([dy, f]) =>
      kernel('DepthwiseConv2dNativeBackpropInput', { dy, filter: f }, { ...down, inputShape: [2, 5, 6, 2] }),
    ),
    example('DepthwiseConv2dNativeBackpropFilter', [x, uniform([2, 3, 3, 4])], ([a, dy]) =>
      kernel('DepthwiseConv2dNativeBackpropFilter', { x: a, dy }, { ...down, filterShape: [3, 2, 2, 2] }),
    ),
    example('Conv3D', [volume, filter3d], ([a, f]) => tf.conv3d(a as tf.Tensor5D, f as tf.Tensor5D, 1, 'same')),
    example('Conv3D (stride 2)', [volume, filter3d], ([a, f]) => tf.conv3d(a as tf.Tensor5D, f as tf.Tensor5D, 2, 'same')),
    example('Conv3DBackpropInputV2', [uniform([1, 2, 2, 2, 2]), filter3d], ([dy, f]) =>
      kernel('Conv3DBackpropInputV2', { dy, filter: f }, { ...down3d, inputShape: [1, 4, 3, 4, 2] }),
    ),
    example('Conv3DBackpropFilterV2', [volume, uniform([1, 2, 2, 2, 2])], ([a, dy]) =>
      kernel('Conv3DBackpropFilterV2', { x: a, dy }, { ...down3d, filterShape: [2, 2, 2, 2, 2] }),
    ),
  ]
}

function pools(): KernelExample[] {
  const x = spaced([2, 5, 5, 2])
  const volume = spaced([1, 3, 4, 4, 2])
  const same = { filterSize: [3, 3], strides: [2, 2], pad: 'same' }
  const same3d = { filterSize: [2, 2, 2], strides: [2, 2, 2], pad: 'same' }
  return [
    unary('MaxPool', (t) => tf.maxPool(t as tf.Tensor4D, 2, 2, 'valid'), x),
    unary('MaxPool (overlapping, same)', (t) => tf.maxPool(t as tf.Tensor4D, 3, 2, 'same'), x),
    example('MaxPoolGrad', [uniform([2, 3, 3, 2])], ([dy]) =>
      kernel('MaxPoolGrad', { dy, input: x, output: tf.maxPool(x as tf.Tensor4D, 3, 2, 'same') }, same),
    ),
    unary('MaxPoolWithArgmax', (t) => tf.maxPoolWithArgmax(t as tf.Tensor4D, 2, 2, 'valid').result, x),
    unary('AvgPool', (t) => tf.avgPool(t as tf.Tensor4D, 2, 2, 'valid'), x),
    unary('AvgPool (overlapping, same)', (t) => tf.avgPool(t as tf.Tensor4D, 3, 2, 'same'), x),
    example('AvgPoolGrad', [uniform([2, 3, 3, 2])], ([dy]) => kernel('AvgPoolGrad', { dy, input: x }, same)),
    unary('MaxPool3D', (t) => tf.maxPool3d(t as tf.Tensor5D, 2, 2, 'same'), volume),
    example('MaxPool3DGrad', [uniform([1, 2, 2, 2, 2])], ([dy]) =>
      kernel('MaxPool3DGrad', { dy, input: volume, output: tf.maxPool3d(volume as tf.Tensor5D, 2, 2, 'same') }, same3d),
    ),
    unary('AvgPool3D', (t) => tf.avgPool3d(t as tf.Tensor5D, 2, 2, 'same'), volume),
    unary('AvgPool3D (overlapping)', (t) => tf.avgPool3d(t as tf.Tensor5D, 3, 1, 'same'), volume),
    example('AvgPool3DGrad', [uniform([1, 2, 2, 2, 2])], ([dy]) => kernel('AvgPool3DGrad', { dy, input: volume }, same3d)),
    example('Dilation2D', [x, tf.mul(spaced([2, 2, 2], 3), 0.13)], ([t, f]) =>
      tf.dilation2d(t as tf.Tensor4D, f as tf.Tensor3D, 1, 'same', 2),
    ),
    example('Dilation2DBackpropInput', [uniform([2, 5, 5, 2])], ([dy]) =>
      kernel('Dilation2DBackpropInput', { x, filter: uniform([2, 2, 2]), dy }, { strides: [1, 1], pad: 'same', dilations: [2, 2] }),
    ),
    example('Dilation2DBackpropFilter', [uniform([2, 5, 5, 2])], ([dy]) =>
      kernel('Dilation2DBackpropFilter', { x, filter: uniform([2, 2, 2]), dy }, { strides: [1, 1], pad: 'same', dilations: [2, 2] }),
    ),
  ]
}

function shapes(): KernelExample[] {
  const x = uniform([2, 3, 4])
  const image = uniform([4, 2, 4, 4])
  return [
    unary('Reshape', (t) => tf.reshape(t, [6, 4]), x),
    unary('ExpandDims', (t) => tf.expandDims(t, 1), x),
    unary('Transpose', (t) => tf.transpose(t, [2, 0, 1]), x),
    unary('Tile', (t) => tf.tile(t, [2, 1, 3]), x),
    unary('Tile (broadcast)', (t) => tf.broadcastTo(tf.reshape(t, [2, 1, 3, 1, 4]), [2, 2, 3, 2, 4]), x),
    example('Concat', [x, uniform([2, 1, 4])], (xs) => tf.concat(xs, 1)),
    example('Pack', [x, uniform([2, 3, 4], 0, 1)], (xs) => tf.stack(xs, 1)),
    unary('Unpack', (t) => tf.mul(tf.unstack(t, 1)[0], tf.unstack(t, 1)[2]), x),
    unary('SplitV', (t) => tf.mul(tf.split(t, [1, 2], 1)[0], tf.split(t, [1, 2], 1)[1]), x),
    unary('Slice', (t) => tf.slice(t, [0, 1, 1], [2, 2, -1]), x),
    unary('StridedSlice', (t) => tf.stridedSlice(t, [0, 0, 0], [2, 3, 4], [1, 2, 3]), x),
    unary(
      'StridedSlice (backwards, new axis)',
      (t) => tf.stridedSlice(t, [0, 0, -1, 1], [0, 3, 0, 3], [1, 2, -2, 1], 0, 0, 0, 1),
      uniform([3, 5, 4]),
    ),
    unary('StridedSlice (one row)', (t) => tf.stridedSlice(t, [1], [2], [1], 0, 0, 0, 0, 1), x),
    unary(
      'PadV2',
      (t) =>
        tf.pad(
          t,
          [
            [0, 1],
            [2, 0],
            [1, 1],
          ],
          3,
        ),
      x,
    ),
    unary(
      'MirrorPad',
      (t) =>
        tf.mirrorPad(
          t,
          [
            [0, 1],
            [2, 1],
            [1, 3],
          ],
          'reflect',
        ),
      x,
    ),
    unary(
      'MirrorPad (symmetric)',
      (t) =>
        tf.mirrorPad(
          t,
          [
            [1, 2],
            [3, 0],
            [0, 4],
          ],
          'symmetric',
        ),
      x,
    ),
    unary('Reverse', (t) => tf.reverse(t, [0, 2]), x),
    unary(
      'BatchToSpaceND',
      (t) =>
        tf.batchToSpaceND(
          t,
          [2, 2],
          [
            [0, 1],
            [1, 0],
          ],
        ),
      image,
    ),
    unary(
      'SpaceToBatchND',
      (t) =>
        tf.spaceToBatchND(
          t,
          [2, 2],
          [
            [0, 0],
            [1, 1],
          ],
        ),
      image,
    ),
    unary('DepthToSpace', (t) => tf.depthToSpace(t as tf.Tensor4D, 2), image),
    unary('Diag', (t) => tf.diag(t), uniform([2, 3])),
    unary('FlipLeftRight', (t) => tf.image.flipLeftRight(t as tf.Tensor4D), image),
    unary('OneHot', (t) => tf.mul(tf.oneHot(tf.cast(tf.add(t, 2), 'int32'), 4), tf.expandDims(t, -1)), tf.fill([3], 0.5)),
  ]
}

function gathers(): KernelExample[] {
  const x = uniform([3, 4, 2])
  const pairs = int([0, 1, 2, 3, 0, 1], [3, 2])
  return [
    unary('GatherV2', (t) => tf.gather(t, int([2, 0, 2, 1], [2, 2])), x),
    unary('GatherV2 (axis 1)', (t) => tf.gather(t, int([3, 0, 3], [3]), 1), x),
    unary('GatherV2 (batch)', (t) => tf.gather(t, int([3, 0, 1, 1, 2, 2], [3, 2]), 1, 1), x),
    unary('GatherV2 (batch, axis 2)', (t) => tf.gather(t, int([1, 0, 0, 0, 1, 1], [3, 2]), 2, 1), x),
    unary('GatherNd', (t) => tf.gatherND(t, pairs), x),
    unary('ScatterNd', (t) => tf.scatterND(pairs, t, [3, 4, 2]), uniform([3, 2])),
    example('TensorScatterUpdate', [x, uniform([2, 2])], ([t, u]) => tf.tensorScatterUpdate(tf.add(t, 0), int([0, 1, 2, 3], [2, 2]), u)),
    unary('UnsortedSegmentSum', (t) => tf.unsortedSegmentSum(t, tf.tensor1d([1, 0, 1], 'int32'), 2), x),
    unary('SparseSegmentSum', (t) => tf.sparse.sparseSegmentSum(t, tf.tensor1d([0, 2, 2], 'int32'), tf.tensor1d([0, 0, 1], 'int32')), x),
    unary('SparseSegmentMean', (t) => tf.sparse.sparseSegmentMean(t, tf.tensor1d([0, 2, 2], 'int32'), tf.tensor1d([0, 0, 1], 'int32')), x),
    example('SparseToDense', [uniform([2]), tf.scalar(0.3)], ([v, d]) => tf.sparseToDense(int([1, 3], [2]), v, [5], d as tf.Scalar)),
    example('SparseToDense (matrix)', [uniform([2])], ([v]) => tf.sparseToDense(int([0, 1, 1, 0], [2, 2]), v, [2, 3])),
    example('SparseFillEmptyRows', [uniform([2]), tf.scalar(0.3)], ([v, d]) =>
      tf.slice(
        tf.sparse.sparseFillEmptyRows(
          int([0, 1, 3, 0], [2, 2]) as tf.Tensor2D,
          v as tf.Tensor1D,
          tf.tensor1d([5, 2], 'int32'),
          d as tf.Scalar,
        ).outputValues,
        [0],
        [5],
      ),
    ),
    unary('Bincount', (t) => tf.bincount(tf.tensor1d([0, 2, 2, 5], 'int32'), t as tf.Tensor1D, 4), uniform([4])),
    unary('DenseBincount', (t) => tf.denseBincount(int([0, 2, 2, 5, 1, 1], [2, 3]) as tf.Tensor2D, t as tf.Tensor2D, 4), uniform([2, 3])),
    unary('DenseBincount (vector)', (t) => tf.denseBincount(tf.tensor1d([0, 2, 2, 5], 'int32'), t as tf.Tensor1D, 4), uniform([4])),
  ]
}

function normalisations(): KernelExample[] {
  const x = uniform([2, 2, 3, 4])
  return [
    example('FusedBatchNorm', [x, uniform([4]), uniform([4], 0.5, 1.5), uniform([4], 0, 1, 1), uniform([4], 0, 1, 2)], ([t, m, v, o, s]) =>
      tf.batchNorm(t, m as tf.Tensor1D, v as tf.Tensor1D, o as tf.Tensor1D, s as tf.Tensor1D),
    ),
    unary('LRN', (t) => tf.localResponseNormalization(t as tf.Tensor4D, 1, 1, 0.5, 0.75), x),
    example('LRNGrad', [x, uniform([2, 2, 3, 4], -1, 1, 8)], ([t, dy]) =>
      kernel(
        'LRNGrad',
        { x: t, y: tf.localResponseNormalization(t as tf.Tensor4D, 1, 1, 0.5, 0.75), dy },
        { depthRadius: 1, bias: 1, alpha: 0.5, beta: 0.75 },
      ),
    ),
  ]
}

function images(): KernelExample[] {
  const x = uniform([2, 3, 4, 2])
  const boxes = tf.tensor2d([0.1, 0.15, 0.83, 0.9, -0.2, 0.3, 0.62, 1.21], [2, 4])
  const owners = tf.tensor1d([1, 0], 'int32')
  // On the cpu backend only the first image is transformed.
  const single = uniform([1, 3, 4, 2])
  const matrix = tf.tensor2d([1, 0.1, 0.25, -0.1, 1, -0.38, 0.01, 0.01], [1, 8])
  const resizes = [
    [false, false],
    [true, false],
    [false, true],
  ]
  return [
    ...resizes.flatMap(([corners, half]) => [
      unary(`ResizeBilinear (${corners}, ${half})`, (t) => tf.image.resizeBilinear(t as tf.Tensor4D, [5, 3], corners, half), x),
      unary(
        `ResizeNearestNeighbor (${corners}, ${half})`,
        (t) => tf.image.resizeNearestNeighbor(t as tf.Tensor4D, [5, 3], corners, half),
        x,
      ),
    ]),
    unary('ResizeNearestNeighbor (twice as large)', (t) => tf.image.resizeNearestNeighbor(t as tf.Tensor4D, [6, 8], false, true), x),
    unary('ResizeNearestNeighbor (smaller)', (t) => tf.image.resizeNearestNeighbor(t as tf.Tensor4D, [2, 2]), x),
    example('CropAndResize', [x, boxes], ([t, b]) =>
      tf.image.cropAndResize(t as tf.Tensor4D, b as tf.Tensor2D, owners, [4, 3], 'bilinear', 0.7),
    ),
    example('CropAndResize (single row)', [x, boxes], ([t, b]) =>
      tf.image.cropAndResize(t as tf.Tensor4D, b as tf.Tensor2D, owners, [1, 3]),
    ),
    unary('CropAndResize (nearest)', (t) => tf.image.cropAndResize(t as tf.Tensor4D, boxes, owners, [4, 3], 'nearest'), x),
    unary('RotateWithOffset', (t) => tf.image.rotateWithOffset(t as tf.Tensor4D, 0.6, 0.2, [0.4, 0.6]), x),
    ...(['constant', 'nearest', 'reflect', 'wrap'] as const).flatMap((mode) => [
      example(`Transform (bilinear, ${mode})`, [single, tf.zeros([1, 8])], ([t, m]) =>
        tf.image.transform(t as tf.Tensor4D, tf.add(matrix, tf.mul(m, 0.2)) as tf.Tensor2D, 'bilinear', mode, 0.3),
      ),
      unary(`Transform (nearest, ${mode})`, (t) => tf.image.transform(t as tf.Tensor4D, matrix, 'nearest', mode, 0.3, [4, 3]), single),
    ]),
  ]
}

function spectra(): KernelExample[] {
  const x = uniform([2, 6])
  const y = uniform([2, 6], -1, 1, 9)
  const power = (z: tf.Tensor): tf.Tensor => tf.add(tf.square(tf.real(z)), tf.mul(tf.real(z), tf.imag(z)))
  return [
    example('Complex', [x, y], ([re, im]) => power(tf.complex(re, im))),
    example('Real', [x, y], ([re, im]) => tf.real(tf.fft(tf.complex(re, im)))),
    example('Imag', [x, y], ([re, im]) => tf.imag(tf.fft(tf.complex(re, im)))),
    example('FFT', [x, y], ([re, im]) => power(tf.fft(tf.complex(re, im)))),
    example('IFFT', [x, y], ([re, im]) => power(tf.ifft(tf.complex(re, im)))),
    unary('FFT (real)', (t) => power(tf.spectral.rfft(t)), x),
    unary('FFT (real, padded)', (t) => power(tf.spectral.rfft(t, 8)), x),
    example('IFFT (real)', [x, y], ([re, im]) => tf.spectral.irfft(tf.complex(re, im))),
  ]
}

/** At least one call for every differentiable kernel; the backend must be ready. */
export function kernelExamples(): KernelExample[] {
  return [
    ...elementwise(),
    ...reductions(),
    ...products(),
    ...convolutions(),
    ...pools(),
    ...shapes(),
    ...gathers(),
    ...normalisations(),
    ...images(),
    ...spectra(),
  ]
}
