/** One step of Adam (β₁ = 0.9, β₂ = 0.999), in place; `count` counts from 1. */
export function adamStep(
  u: Float64Array,
  mean: Float64Array,
  square: Float64Array,
  gradient: Float64Array,
  count: number,
  learningRate: number,
): void {
  const [c1, c2] = [1 - 0.9 ** count, 1 - 0.999 ** count]
  for (let i = 0; i < u.length; i++) {
    mean[i] += 0.1 * (gradient[i] - mean[i])
    square[i] += 0.001 * (gradient[i] * gradient[i] - square[i])
    u[i] -= (learningRate * (mean[i] / c1)) / (Math.sqrt(square[i] / c2) + 1e-8)
  }
}

/** Half a cosine from `learningRate` to 0. */
export const cosineRate = (learningRate: number, done: number, steps: number): number =>
  0.5 * learningRate * (1 + Math.cos((Math.PI * Math.min(done, steps)) / steps))
