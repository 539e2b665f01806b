import { binary, constant, matmul, reshape, scalar, unary } from '../emit'
import { sizeOf, type Graph, type Value } from '../graph'
import { defineLowerings, type LoweringContext } from '../lowering'

/** Σ over the channels at most `radius` away. */
function neighbourSum(g: Graph, x: Value, radius: number): Value {
  const channels = x.shape[x.shape.length - 1]
  const band = Array.from({ length: channels * channels }, (_, at) =>
    Math.abs(Math.floor(at / channels) - (at % channels)) <= radius ? 1 : 0,
  )
  const flat = reshape(g, x, [sizeOf(x.shape) / channels, channels])
  return reshape(g, matmul(g, flat, constant(g, band, [channels, channels], x.type)), x.shape)
}

/** bias + α Σ x² over the neighbouring channels, and that to the power −β. */
function response({ g, input, attrs }: LoweringContext): { norm: Value; factor: Value } {
  const x = input('x')
  const squares = neighbourSum(g, binary(g, 'Mul', x, x), attrs.depthRadius as number)
  const scaled = binary(g, 'Mul', squares, scalar(g, attrs.alpha as number, x.type))
  const norm = binary(g, 'Add', scaled, scalar(g, attrs.bias as number, x.type))
  return { norm, factor: binary(g, 'Pow', norm, scalar(g, -(attrs.beta as number), x.type)) }
}

defineLowerings({
  LRN: (context) => binary(context.g, 'Mul', context.input('x'), response(context).factor),
  // With n = bias + α Σ x²: dx = dy n^{−β} − 2αβ x Σ (dy y / n).
  LRNGrad: (context) => {
    const { g, input, attrs } = context
    const [x, y, dy] = [input('x'), input('y'), input('dy')]
    const { norm, factor } = response(context)
    const others = neighbourSum(g, binary(g, 'Div', binary(g, 'Mul', dy, y), norm), attrs.depthRadius as number)
    const gain = scalar(g, 2 * (attrs.alpha as number) * (attrs.beta as number), x.type)
    return binary(g, 'Sub', binary(g, 'Mul', dy, factor), binary(g, 'Mul', binary(g, 'Mul', x, others), gain))
  },
  FusedBatchNorm: ({ g, input, optional, attrs }) => {
    const [x, mean, variance] = [input('x'), input('mean'), input('variance')]
    const epsilon = (attrs.varianceEpsilon as number | null | undefined) ?? 0.001
    const inverse = unary(g, 'Reciprocal', unary(g, 'Sqrt', binary(g, 'Add', variance, scalar(g, epsilon, variance.type))))
    const [scale, offset] = [optional('scale'), optional('offset')]
    const gain = scale === undefined ? inverse : binary(g, 'Mul', inverse, scale)
    const y = binary(g, 'Mul', binary(g, 'Sub', x, mean), gain)
    return offset === undefined ? y : binary(g, 'Add', y, offset)
  },
})
