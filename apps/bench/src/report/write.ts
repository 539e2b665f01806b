import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { writeWhole, type Results } from '../results'
import { reportPage } from './page'

/** Writes `report.html` beside `results.json`, with the figures of that folder inside it. */
export function writeReport(out: string, results: Results): void {
  const readFigure = (file: string): string | undefined => {
    try {
      return readFileSync(join(out, file), 'utf8')
    } catch {
      return undefined
    }
  }
  writeWhole(join(out, 'report.html'), reportPage(results, readFigure))
}
