import { figureToSvg } from '../figures'
import type { Summary, Table } from '../paper'
import type { PaperReport, Results } from '../results'

const summary = (...each: number[]): Summary => {
  const mean = each.reduce((sum, value) => sum + value, 0) / each.length
  const spread = Math.sqrt(each.reduce((sum, value) => sum + (value - mean) ** 2, 0) / Math.max(1, each.length - 1))
  return { mean, spread, min: Math.min(...each), max: Math.max(...each), each }
}

const methods: Table = {
  id: 'methods',
  title: 'Calibration error on the test rows',
  note: 'Mean over five seeds; ECE with 15 bins of equal width.',
  columns: [
    { key: 'method', label: 'Method' },
    { key: 'ece', label: 'ECE', better: 'lower', digits: 4 },
    { key: 'decE', label: 'dECE', better: 'lower', digits: 4 },
    { key: 'cwece', label: 'CWECE', better: 'lower', digits: 4 },
    { key: 'nll', label: 'NLL', better: 'lower', digits: 4 },
    { key: 'accuracy', label: 'Accuracy', better: 'higher', digits: 4 },
    { key: 'rank', label: 'Average rank', better: 'lower', digits: 2 },
  ],
  rows: [
    { method: 'uncalibrated', ece: summary(0.0671, 0.0702, 0.0655), decE: 0.0663, cwece: 0.0151, nll: 0.5402, accuracy: 0.8721, rank: 8.2 },
    {
      method: 'temperature scaling',
      ece: summary(0.0126, 0.0131, 0.0119),
      decE: 0.0108,
      cwece: 0.0072,
      nll: 0.3811,
      accuracy: 0.8721,
      rank: 3.1,
    },
    {
      method: 'h-calibration',
      ece: summary(0.0091, 0.0102, 0.0095),
      decE: 0.0071,
      cwece: 0.0065,
      nll: 0.3798,
      accuracy: 0.8721,
      rank: 1.6,
    },
    { method: 'isotonic', ece: summary(0.0141, 0.0122, 0.0138), decE: 0.0118, cwece: 0.0081, nll: 0.4377, accuracy: 0.8699, rank: 5.5 },
    {
      method: 'histogram binning',
      ece: summary(0.0152, 0.0149, 0.0163),
      decE: 0.0133,
      cwece: 0.0094,
      nll: 0.5511,
      accuracy: 0.8684,
      rank: 6.9,
    },
    { method: 'BBQ', ece: null, decE: null, cwece: 0.0089, nll: 0.4902, accuracy: 0.8701, rank: 6.1 },
  ],
}

const common = {
  seedsAsked: 5,
  finishedAt: '2026-11-25T03:00:00.000Z',
  description:
    'An MLP trained on Fashion-MNIST until it is over-confident; its logits are recalibrated on 5,000 held-out rows and judged on 10,000.',
  values: { 'real/h-calibration/ece': summary(0.0091, 0.0102, 0.0095), 'real/ts/ece': summary(0.0126, 0.0131, 0.0119) },
}

const wideValues = Array.from({ length: 8 }, (_, bin) => ({
  confidence: (bin + 0.5) / 8,
  accuracy: (bin + 0.5) / 8 - 0.06 * Math.sin(bin),
  method: bin % 2 ? 'h-calibration' : 'uncalibrated',
}))

/** Results as a report must show them: claims that hold and fail, a failed run, a run cut short, tables, figures. */
export async function sampleResults(): Promise<{ results: Results; figures: Record<string, string> }> {
  const figures: Record<string, string> = {
    '60-h-calibration/embedded-reliability.svg': await figureToSvg({
      id: 'reliability',
      title: '',
      caption: '',
      spec: {
        data: { values: wideValues },
        mark: { type: 'line', point: true, clip: true },
        encoding: {
          x: { field: 'confidence', type: 'quantitative', scale: { domain: [0, 1] } },
          y: { field: 'accuracy', type: 'quantitative', scale: { domain: [0, 1] } },
          color: { field: 'method', type: 'nominal', title: null },
        },
      },
    }),
    '60-h-calibration/embedded-ranks.svg': await figureToSvg({
      id: 'ranks',
      title: '',
      caption: '',
      spec: {
        data: { values: methods.rows.map(({ method, rank }) => ({ method, rank })) },
        mark: { type: 'bar', cornerRadiusEnd: 3 },
        encoding: {
          y: { field: 'method', type: 'nominal', title: null, sort: 'x' },
          x: { field: 'rank', type: 'quantitative', title: 'average rank' },
        },
      },
    }),
  }
  const papers: PaperReport[] = [
    {
      ...common,
      paper: 3,
      slug: 'noprop',
      title: 'NoProp: Training Neural Networks without Full Back-propagation or Full Forward-propagation',
      arxiv: '2503.24322',
      package: '@bpf/local',
      preset: 'quick',
      seeds: 2,
      seconds: 13.2,
      claims: [
        {
          id: 'accuracy',
          statement: 'Accuracy on digits is at least 0.95.',
          holds: false,
          measured: { text: '0.9312', value: 0.9312 },
          expected: { text: '≥ 0.95', value: 0.95 },
        },
      ],
      tables: [],
      figures: [],
      command: 'bpf-bench run 03 --preset quick',
    },
    {
      ...common,
      paper: 8,
      slug: 'hard-samples',
      title: 'Can we learn better with hard samples?',
      arxiv: '2304.03486',
      package: '@bpf/optim',
      preset: 'quick',
      seeds: 0,
      seconds: 0.4,
      claims: [],
      values: {},
      tables: [],
      figures: [],
      command: 'bpf-bench run 08 --preset quick',
      error:
        'data set fashion-mnist is not on this machine (looked in /root/.cache/bpf/data/fashion-mnist): run bpf-bench data get fashion-mnist',
    },
    {
      ...common,
      paper: 60,
      slug: 'h-calibration',
      title: 'h-calibration: Rethinking Classifier Recalibration with Probabilistic Error-Bounded Objective',
      arxiv: '2506.17968',
      package: '@bpf/calibration',
      preset: 'embedded',
      seeds: 5,
      seconds: 412,
      claims: [
        {
          id: 'ece-against-uncalibrated',
          statement: 'h-calibration at least halves the expected calibration error of the uncalibrated classifier.',
          holds: true,
          measured: { text: '0.0096', value: 0.0096 },
          expected: { text: '≤ 0.0338 (half of 0.0676)', value: 0.0338 },
          reported: '0.0451 → 0.0056 on CIFAR-10 (WRN-32)',
        },
        {
          id: 'ece-against-ts',
          statement: 'Its error is at most 0.003 above temperature scaling.',
          holds: true,
          measured: { text: '0.0096', value: 0.0096 },
          expected: { text: '≤ 0.0155', value: 0.0155 },
        },
        {
          id: 'argmax',
          statement: 'The predicted class is unchanged on every row.',
          holds: true,
          measured: { text: '0', value: 0 },
          expected: { text: '= 0 rows changed', value: 0 },
        },
      ],
      tables: [methods],
      figures: [
        {
          id: 'reliability',
          title: 'Reliability',
          caption: 'Accuracy by confidence: a calibrated classifier lies on the diagonal.',
          file: '60-h-calibration/embedded-reliability.svg',
        },
        {
          id: 'ranks',
          title: 'Average rank over six metrics',
          caption: 'Lower is better; h-calibration comes first.',
          file: '60-h-calibration/embedded-ranks.svg',
        },
      ],
      command: 'bpf-bench run 60 --preset embedded',
    },
  ]
  const environment = {
    node: '20.20.2',
    platform: 'linux',
    arch: 'x64',
    cpu: 'AMD EPYC 7B13 <64-Core>',
    cores: 2,
    memoryGiB: 23.4,
    backend: { name: 'cpu' as const, device: 'CPU (JavaScript)', threads: 1, why: 'the best backend installed' },
    packages: { '@bpf/core': '0.1.0', '@bpf/calibration': '0.1.0', '@tensorflow/tfjs-core': '4.22.0' },
  }
  return { results: { environment, papers }, figures }
}
