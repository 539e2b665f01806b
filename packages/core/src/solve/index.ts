export { lbfgs, type LbfgsOptions, type LbfgsResult, type ValueAndGradient } from './lbfgs'
export { findRoot, minimizeBounded, type ScalarOptions } from './scalar'
export { conjugateGradient, type ConjugateGradientOptions, type ConjugateGradientResult } from './conjugate-gradient'
export { minimizeOnSimplex, projectSimplex, simplexQuadratic, type SimplexOptions, type SimplexResult } from './simplex'
