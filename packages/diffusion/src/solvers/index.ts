/** Solvers by family; each is a table of numbers for the engine of sampling.ts. */
export { ddim, ddpm, eulerAncestral, type DdimOptions, type DdpmOptions } from './ddim'
export {
  dpmSolverMultistep,
  dpmSolverSinglestep,
  singlestepOrders,
  type DpmSolverMultistepOptions,
  type DpmSolverSinglestepOptions,
} from './dpm-solver'
export { heun, type HeunOptions } from './edm'
export { deis, lms, pndm, type PndmOptions } from './multistep'
export { euler, eulerMaruyama, midpoint, rungeKutta4, type EulerMaruyamaOptions } from './ode'
export { type PerSampleSolver, type PerSampleState, type Places, type Remembered } from './per-sample'
export { adamsBashforth, ddimTransfer, pseudoImprovedEuler, pseudoRungeKutta, type Pseudo } from './pseudo'
