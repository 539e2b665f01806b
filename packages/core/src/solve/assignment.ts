import { OptionError } from '../errors'
import { readMatrix, type MatrixInput } from '../data/array-input'

/**
 * Assigns rows to different columns at least total cost (the Hungarian problem), by shortest augmenting paths with
 * potentials: O(rows² · columns).
 *
 * @param costs - [rows, columns] with rows ≤ columns, finite
 * @returns `columns` [rows], the column of each row, and the total `cost`
 * @throws OptionError for more rows than columns, DataError for NaN and infinities
 * @see Kuhn, "The Hungarian method for the assignment problem", 1955; Jonker and Volgenant, 1987
 */
export function linearAssignment(costs: MatrixInput): { columns: Int32Array; cost: number } {
  const { rows, cols, data } = readMatrix(costs, 'costs')
  if (rows > cols) throw new OptionError(`linearAssignment: expected at most as many rows as columns, got [${rows}, ${cols}]; transpose it`)

  const rowPotential = new Float64Array(rows)
  const columnPotential = new Float64Array(cols)
  const rowOf = new Int32Array(cols).fill(-1)
  for (let row = 0; row < rows; row++) {
    const slack = new Float64Array(cols).fill(Infinity)
    const before = new Int32Array(cols).fill(-1)
    const visited: number[] = []
    const isVisited = new Uint8Array(cols)
    let current = row
    let column = -1
    // Grows a tree of tight edges from the new row until it meets a free column.
    do {
      let least = Infinity
      let next = -1
      for (let j = 0; j < cols; j++) {
        if (isVisited[j]) continue
        const reduced = data[current * cols + j] - rowPotential[current] - columnPotential[j]
        if (reduced < slack[j]) {
          slack[j] = reduced
          before[j] = column
        }
        if (slack[j] < least) {
          least = slack[j]
          next = j
        }
      }
      rowPotential[row] += least
      for (const j of visited) {
        rowPotential[rowOf[j]] += least
        columnPotential[j] -= least
      }
      for (let j = 0; j < cols; j++) if (!isVisited[j]) slack[j] -= least
      isVisited[next] = 1
      visited.push(next)
      column = next
      current = rowOf[column]
    } while (current >= 0)
    for (let j = column; j >= 0; j = before[j]) rowOf[j] = before[j] >= 0 ? rowOf[before[j]] : row
  }
  const columns = new Int32Array(rows)
  rowOf.forEach((row, j) => {
    if (row >= 0) columns[row] = j
  })
  return { columns, cost: columns.reduce((sum, j, row) => sum + data[row * cols + j], 0) }
}
