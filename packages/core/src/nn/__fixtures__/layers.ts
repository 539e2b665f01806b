import * as nn from '../index'

/** A layer and the shape of one example. */
export type LayerCase = [string, nn.Layer, readonly number[]]

const smooth = nn.tanh()

/** Every kind of layer, small enough for finite differences. */
export const layerCases: LayerCase[] = [
  ['dense', nn.dense(3), [4]],
  ['dense over time', nn.dense(3, { bias: false }), [2, 4]],
  ['conv2d', nn.conv2d(3, { kernelSize: 3 }), [4, 5, 2]],
  ['conv2d, stride 2, same', nn.conv2d(2, { kernelSize: 3, stride: 2 }), [5, 4, 2]],
  ['conv2d, stride 2, padding 1', nn.conv2d(2, { kernelSize: 3, stride: 2, padding: 1 }), [4, 4, 2]],
  ['conv2d, groups', nn.conv2d(4, { kernelSize: 2, groups: 2, padding: 'valid' }), [3, 3, 4]],
  ['conv2d, depthwise groups', nn.conv2d(4, { kernelSize: 2, groups: 2 }), [3, 3, 2]],
  ['conv2d, dilation', nn.conv2d(2, { kernelSize: 2, dilation: 2 }), [4, 4, 2]],
  ['depthwiseConv2d', nn.depthwiseConv2d({ kernelSize: 3, multiplier: 2 }), [4, 3, 2]],
  ['depthwiseConv2d, dilation', nn.depthwiseConv2d({ kernelSize: 2, dilation: 2 }), [4, 4, 2]],
  ['conv1d', nn.conv1d(3, { kernelSize: 3, stride: 2 }), [5, 2]],
  ['conv1d, padding 1', nn.conv1d(3, { kernelSize: 3, padding: 1 }), [5, 2]],
  ['conv1d, causal, dilation', nn.conv1d(4, { kernelSize: 2, padding: 'causal', dilation: 2, groups: 2 }), [5, 2]],
  ['conv2dTranspose', nn.conv2dTranspose(2, { kernelSize: 3, stride: 2 }), [2, 3, 2]],
  ['maxPool', nn.maxPool(2), [4, 5, 2]],
  ['maxPool, overlapping', nn.maxPool(3, { stride: 2, padding: 1 }), [4, 5, 2]],
  ['avgPool', nn.avgPool(2, { padding: 'same' }), [3, 4, 2]],
  ['globalAvgPool', nn.globalAvgPool(), [3, 2, 2]],
  ['batchNorm', nn.batchNorm(), [2, 2, 3]],
  ['layerNorm', nn.layerNorm(), [3, 4]],
  ['layerNorm, no map', nn.layerNorm({ affine: 'none' }), [4]],
  ['groupNorm', nn.groupNorm(2), [2, 2, 4]],
  ['rmsNorm', nn.rmsNorm(), [5]],
  ['dropout', nn.dropout(0.3), [6]],
  ['multiHeadAttention', nn.multiHeadAttention({ heads: 2, causal: true, dropout: 0.2 }), [3, 4]],
  ['gru', nn.recurrent(nn.gruCell(3)), [3, 2]],
  ['lstm', nn.recurrent(nn.lstmCell(3), { output: 'last' }), [3, 2]],
  ['fourierFeatures', nn.fourierFeatures(4, { stddev: 0.3 }), [2]],
  ['flatten and reshape', nn.sequential([nn.flatten(), nn.reshape([3, 2])]), [2, 3]],
  ['relu', nn.relu(), [4]],
  ['leakyRelu', nn.leakyRelu(), [4]],
  ['elu', nn.elu(), [4]],
  ['gelu', nn.gelu(), [4]],
  ['silu', nn.silu(), [4]],
  ['softplus', nn.softplus(), [4]],
  ['sigmoid', nn.sigmoid(), [4]],
  ['residual', nn.residual(nn.sequential([nn.dense(3), smooth]), { shortcut: nn.dense(3) }), [2]],
  ['parallel', nn.parallel([nn.dense(2), smooth], { join: 'concat' }), [3]],
  ['sequential of nothing', nn.sequential([]), [3]],
  ['mlp', nn.mlp({ hidden: [4, 4], outputs: 2, activation: smooth, norm: 'layer', dropout: 0.2 }), [3]],
]
