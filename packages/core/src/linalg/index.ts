export {
  add,
  diag,
  frobeniusNorm,
  gram,
  identity,
  matmul,
  matrix,
  matvec,
  toRows,
  transpose,
  zeros,
  type Matrix,
  type RightHandSide,
} from './matrix'
export { triangularSolve, type TriangularOptions } from './triangular'
export { cholesky, choleskyLogDet, choleskySolve, ridge, woodburySolve } from './cholesky'
export { det, inverse, logDet, lu, luSolve, solve, type LuFactors } from './lu'
export { qr, qrTriangle, type QrFactors } from './qr'
export { conditionNumber, leastSquares, singularValues, spectralNorm, svd, type LeastSquares, type Svd } from './svd'
export { semidefiniteFactor, symmetricEigen, symmetricEigenvalues, symmetricSqrt, type SymmetricEigen } from './symmetric-eigen'
export { eigen, eigenCondition, type ComplexMatrix, type Eigen } from './eigen'
export { tridiagonalSolve } from './tridiagonal'
