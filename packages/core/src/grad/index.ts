export { grad, valueAndGrad, valueAndGradWithAux } from './value-and-grad'
