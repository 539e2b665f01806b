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
export {
  adamsBashforth,
  ddimTransfer,
  deis,
  lms,
  pndm,
  pseudoImprovedEuler,
  pseudoRungeKutta,
  type PndmOptions,
  type Pseudo,
} from './multistep'
export { euler, eulerMaruyama, midpoint, rungeKutta4, type EulerMaruyamaOptions } from './ode'
