/** Data sets the bench knows by name. */
export type DataSetName = 'digits' | 'mnist-10k' | 'fashion-mnist' | 'omniglot-small'

/** Which part of a set: `all` where the set comes in one piece (digits, mnist-10k, omniglot-small), else `train` or `test`. */
export type Split = 'all' | 'train' | 'test'

/** Grey images and their labels, in a fixed order. */
export interface LabelledImages {
  name: DataSetName
  split: Split
  count: number
  height: number
  width: number
  /** Row-major [count, height, width], 0 is background. */
  images: Uint8Array
  /** The largest value a pixel can take: divide by it to get [0, 1]. 16 for digits, 255 else. */
  maxValue: number
  /** [count], 0 … classNames.length − 1 */
  labels: Int32Array
  classNames: readonly string[]
}

/** What a paper uses to read data. */
export interface DataAccess {
  /** The folders the user named (`--data-dir`, `BPF_DATA_DIR`), as absolute paths: for files of a paper's own. */
  readonly folders: readonly string[]
  /** @throws DataError that says where the set was looked for and how to get it */
  load(name: DataSetName, split?: Split): Promise<LabelledImages>
  /** Whether a set is on this machine. */
  has(name: DataSetName): boolean
  /** The first of these sets that is on this machine: `await data.firstFound(['fashion-mnist', 'mnist-10k'])`. */
  firstFound(names: readonly DataSetName[]): Promise<DataSetName>
}
