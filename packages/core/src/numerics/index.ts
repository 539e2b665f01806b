export { digamma, lgamma } from './gamma'
export { erf, erfc, normalCdf, probit } from './normal'
export { clenshawCurtis, gaussHermite, gaussLegendre, type Quadrature } from './quadrature'
export {
  logSigmoid,
  logSoftmaxRows,
  logSumExp,
  logSumExpRows,
  logit,
  roundHalfToEven,
  sigmoid,
  softmaxRows,
  softplus,
  xlogy,
} from './softmax'
