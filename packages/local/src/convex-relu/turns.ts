/** Multiply-adds between two turns of the event loop: some tens of milliseconds. */
const workPerTurn = 3e7

/** Iterations between two turns, given the multiply-adds of one. */
export const turnEvery = (work: number): number => Math.max(1, Math.floor(workPerTurn / Math.max(1, work)))
