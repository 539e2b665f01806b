export {
  learnerContract,
  stagedContract,
  type ContractCheck,
  type LearnerContractOptions,
  type StagedContractOptions,
} from './learner-contract'
export {
  float32Tolerance,
  goldenArray,
  goldenCases,
  isGoldenArray,
  mismatch,
  type GoldenArray,
  type GoldenCase,
  type Tolerance,
} from './golden'
