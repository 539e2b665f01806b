import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { Window } from 'happy-dom'
import { chromium, type Browser, type Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { sampleResults } from '../__fixtures__/results'
import { seriesColors } from '../figures'
import { inlineSvg, reportPage } from './page'
import { style } from './style'

let html: string
beforeAll(async () => {
  const { results, figures } = await sampleResults()
  html = reportPage(results, (file) => figures[file])
})

function open(): Window['document'] {
  const window = new Window({ settings: { enableJavaScriptEvaluation: true, suppressInsecureJavaScriptEnvironmentWarning: true } })
  window.document.write(html)
  return window.document
}

const texts = (elements: Iterable<{ textContent: string }>): string[] => [...elements].map((element) => element.textContent.trim())

/** Relative luminance contrast (WCAG 2). */
function contrast(a: string, b: string): number {
  const luminance = (color: string): number => {
    const [r, g, blue] = [1, 3, 5].map((i) => {
      const c = Number.parseInt(color.slice(i, i + 2), 16) / 255
      return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4
    })
    return 0.2126 * r + 0.7152 * g + 0.0722 * blue
  }
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y)
  return (high + 0.05) / (low + 0.05)
}

/** Custom properties of the light and the dark theme. */
function themes(): Record<string, string>[] {
  return [/:root \{([^}]*)\}/, /:root\[data-theme='dark'\] \{([^}]*)\}/].map((pattern) =>
    Object.fromEntries(
      [...(pattern.exec(style)?.[1] ?? '').matchAll(/--([\w-]+): (#[0-9a-f]{6})/g)].map(([, name, value]) => [name, value]),
    ),
  )
}

describe('the page', () => {
  it('shows how many claims hold, of how many papers', () => {
    const document = open()
    expect(document.title).toBe('Reproduction report: 3 of 4 claims hold')
    expect(texts(document.querySelectorAll('.number'))).toEqual(['Claims that hold3 of 4', 'Papers3', 'Time7 min 6 s'])
  })

  it('has a section for each paper with claims: the paper’s number, the bound, ours, the outcome', () => {
    const document = open()
    const row = document.querySelector('#paper-60-embedded .claims tbody tr')
    expect(texts(row?.querySelectorAll('td') ?? [])).toEqual([
      'h-calibration at least halves the expected calibration error of the uncalibrated classifier.ece-against-uncalibrated',
      '0.0451 → 0.0056 on CIFAR-10 (WRN-32)',
      '≤ 0.0338 (half of 0.0676)',
      '0.0096',
      '✓ holds',
    ])
    expect(document.querySelector('#paper-3-quick .claims')?.textContent).toContain('✗ fails')
    expect(document.querySelector('#paper-3-quick .notice')?.textContent).toContain('The time budget ended after 2 seeds of 5')
    expect(document.querySelector('#paper-8-quick .notice')?.textContent).toContain('data set fashion-mnist is not on this machine')
    expect(document.querySelector('#paper-60-embedded .command code')?.textContent).toBe('bpf-bench run 60 --preset embedded')
  })

  it('marks the best value of a column', () => {
    const best = open().querySelectorAll('#paper-60-embedded td.best')
    expect(texts(best)).toEqual(['0.8721', '0.8721', '0.0096 ± 0.0006', '0.0071', '0.0065', '0.3798', '0.8721', '1.60'])
  })

  it('is self-contained: no address but links, a policy that forbids the network, text escaped', () => {
    const document = open()
    expect(document.querySelector('meta[http-equiv]')?.getAttribute('content')).toMatch(/^default-src 'none'/)
    const loaded = document.querySelectorAll('[src], link[href]:not([href="data:,"]), image, use')
    expect(loaded).toHaveLength(0)
    expect(html).not.toMatch(/@import|url\((?!#)/)
    expect(html).toContain('AMD EPYC 7B13 &lt;64-Core&gt;')
  })

  it('describes figures and tables for those who do not see them', () => {
    const document = open()
    const plots = [...document.querySelectorAll('figure svg')]
    expect(plots).toHaveLength(2)
    for (const plot of plots) {
      expect(plot.getAttribute('role')).toBe('img')
      expect(plot.getAttribute('aria-label')).toBeTruthy()
    }
    for (const table of document.querySelectorAll('table')) {
      expect(table.querySelector('caption') ?? table.getAttribute('aria-label') ?? table.closest('[aria-label]')).toBeTruthy()
    }
    const ids = [...document.querySelectorAll('[id]')].map((element) => element.id)
    expect(new Set(ids).size).toBe(ids.length)
  })

  it('keeps ids of inlined figures apart', () => {
    const svg = '<?xml version="1.0"?><svg><clipPath id="clip0"/><g clip-path="url(#clip0)"/></svg>'
    expect(inlineSvg(svg, 'a', 'A "plot"')).toBe(
      '<svg role="img" aria-label="A &quot;plot&quot;"><clipPath id="a-clip0"/><g clip-path="url(#a-clip0)"/></svg>',
    )
  })

  it('has text of contrast 4.5 and series colours of contrast 3 in both themes', () => {
    const [light, dark] = themes()
    for (const theme of [light, dark]) {
      for (const back of ['card', 'page', 'stripe']) {
        for (const text of ['ink', 'soft', 'accent']) expect(contrast(theme[text], theme[back]), `${text} on ${back}`).toBeGreaterThan(4.5)
      }
      for (const kind of ['good', 'bad', 'warn']) expect(contrast(theme[kind], theme[`${kind}-back`]), kind).toBeGreaterThan(4.5)
      for (const color of seriesColors) expect(contrast(color, theme.card), color).toBeGreaterThan(3)
    }
  })

  it('sorts a table by a click on its heading, numbers as numbers, missing last', () => {
    const document = open()
    const table = [...document.querySelectorAll('#paper-60-embedded table.sortable')][1]
    const column = (): string[] => texts([...table.querySelectorAll('tbody tr')].map((row) => row.children[0]))
    const button = table.querySelectorAll('thead button')[1] as unknown as { click(): void }
    button.click()
    expect(column()).toEqual(['h-calibration', 'temperature scaling', 'isotonic', 'histogram binning', 'uncalibrated', 'BBQ'])
    expect(table.querySelectorAll('thead th')[1].getAttribute('aria-sort')).toBe('ascending')
    button.click()
    expect(column()).toEqual(['uncalibrated', 'histogram binning', 'isotonic', 'temperature scaling', 'h-calibration', 'BBQ'])
  })
})

const executablePath = process.env.BPF_CHROMIUM ?? '/usr/bin/chromium'

describe.runIf(existsSync(executablePath))('in headless Chromium', () => {
  const folder = mkdtempSync(join(tmpdir(), 'bpf-report-'))
  const screenshots = process.env.BPF_SCREENSHOTS
  let browser: Browser
  const complaints: string[] = []
  const requests: string[] = []

  beforeAll(async () => {
    writeFileSync(join(folder, 'report.html'), html)
    const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run']
    const quiet = ['--disable-background-networking', '--disable-component-update', '--disable-sync']
    browser = await chromium.launch({ executablePath, args: [...args, ...quiet] })
  }, 60_000)
  afterAll(async () => {
    await browser?.close()
    rmSync(folder, { recursive: true, force: true })
  })

  async function visit(width: number, colorScheme: 'light' | 'dark'): Promise<Page> {
    const page = await browser.newPage({ viewport: { width, height: 900 }, colorScheme })
    page.on('console', (message) => complaints.push(message.text()))
    page.on('pageerror', (error) => complaints.push(error.message))
    page.on('request', (request) => requests.push(request.url()))
    await page.goto(pathToFileURL(join(folder, 'report.html')).href)
    if (screenshots !== undefined) await page.screenshot({ path: join(screenshots, `${width}-${colorScheme}.png`), fullPage: true })
    return page
  }

  it.each([
    [1280, 'light'],
    [1280, 'dark'],
    [768, 'light'],
    [375, 'dark'],
    [320, 'light'],
  ] as const)('at %i px in %s: nothing wider than the window, no message, no request', async (width, scheme) => {
    const page = await visit(width, scheme)
    const { scrollWidth, background } = await page.evaluate(() => ({
      scrollWidth: document.documentElement.scrollWidth,
      background: getComputedStyle(document.body).backgroundColor,
    }))
    expect(scrollWidth).toBeLessThanOrEqual(width)
    expect(background).toBe(scheme === 'light' ? 'rgb(244, 245, 247)' : 'rgb(15, 19, 25)')
    expect(complaints).toEqual([])
    expect(requests.filter((url) => !url.startsWith('file:') && !url.startsWith('data:'))).toEqual([])
    await page.close()
  })

  it('sorts, and switches the theme and keeps it', async () => {
    const page = await visit(1280, 'light')
    const first = page.locator('#summary tbody tr').first()
    await page.locator('#summary thead button', { hasText: 'Time' }).click()
    expect(await first.textContent()).toContain('08')
    await page.locator('#summary thead button', { hasText: 'Time' }).click()
    expect(await first.textContent()).toContain('60')
    const background = (): Promise<string> => page.evaluate(() => getComputedStyle(document.body).backgroundColor)
    await page.getByRole('button', { name: 'Dark mode' }).click()
    expect(await background()).toBe('rgb(15, 19, 25)')
    await page.reload()
    expect(await background()).toBe('rgb(15, 19, 25)')
    await page.getByRole('button', { name: 'Light mode' }).click()
    expect(await background()).toBe('rgb(244, 245, 247)')
    await page.close()
  })
})
