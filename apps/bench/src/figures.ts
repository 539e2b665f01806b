import { BpfError } from '@bpf/core'
import type { Config } from 'vega-lite'
import type { Figure } from './paper'

/** Colours of series: each at least 3:1 against white and against the report's dark background. */
export const seriesColors = ['#3d7fc4', '#c9702a', '#2c9068', '#b5539a', '#8168cf', '#9a7b1c', '#6b7886'] as const

const ink = 'currentColor'

/** Text and axes take the colour of the page around the figure, so one SVG serves light and dark. */
const theme: Config = {
  background: undefined,
  font: 'system-ui, -apple-system, "Segoe UI", Roboto, sans-serif',
  padding: 4,
  view: { stroke: null, continuousWidth: 360, continuousHeight: 230, discreteWidth: { step: 36 } },
  range: { category: [...seriesColors], ramp: { scheme: 'blues' } },
  axis: {
    labelColor: ink,
    titleColor: ink,
    domainColor: ink,
    tickColor: ink,
    gridColor: ink,
    gridOpacity: 0.13,
    domainOpacity: 0.5,
    tickOpacity: 0.5,
    labelFontSize: 12,
    titleFontSize: 12,
    titleFontWeight: 600,
    labelLimit: 220,
    labelOpacity: 0.85,
    titlePadding: 8,
  },
  legend: {
    labelColor: ink,
    titleColor: ink,
    labelFontSize: 12,
    titleFontSize: 12,
    titleFontWeight: 600,
    labelLimit: 220,
    orient: 'bottom',
    columns: 3,
  },
  header: { labelColor: ink, titleColor: ink, labelFontSize: 12, titleFontSize: 12 },
  title: { color: ink, subtitleColor: ink, anchor: 'start', fontSize: 13 },
  text: { color: ink, fontSize: 12 },
  rule: { color: ink },
  line: { strokeWidth: 2 },
  mark: { color: seriesColors[0] },
}

/** Renders a figure as one SVG, without a canvas or a browser. @throws BpfError naming the figure whose spec is wrong */
export async function figureToSvg(figure: Figure): Promise<string> {
  // Half a megabyte of code that only this needs.
  const [vega, vegaLite] = await Promise.all([import('vega'), import('vega-lite')])
  try {
    const { spec } = vegaLite.compile(figure.spec, { config: theme, logger: vega.logger(vega.None) })
    const view = new vega.View(vega.parse(spec), { renderer: 'none', logLevel: vega.None })
    const svg = await view.toSVG()
    view.finalize()
    return svg
  } catch (caught) {
    throw new BpfError(`figure ${figure.id}: vega-lite cannot draw its spec: ${caught instanceof Error ? caught.message : String(caught)}`)
  }
}
