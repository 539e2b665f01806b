import { synthetic } from './synthetic'

/** 1200 rows of three classes, their top probabilities, and whether the top label is right: a binary calibration problem. */
export const { rows, labels, classes } = synthetic(25, 1200, 3)
export const confidences = rows.map((row) => 1 / row.reduce((sum, z) => sum + Math.exp(z - Math.max(...row)), 0))
export const hits: number[] = rows.map((row, i) => (row.indexOf(Math.max(...row)) === labels[i] ? 1 : 0))
