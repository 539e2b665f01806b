import { DataError, OptionError, ShapeError } from '@bpf/core'

/** Events of a sensor in the order of time: a pixel that became brighter or darker. */
export interface Events {
  /** Columns, from 0. */
  x: ArrayLike<number>
  /** Rows, from 0. */
  y: ArrayLike<number>
  /** 1 for brighter, 0 for darker. */
  polarity: ArrayLike<number>
  /** In any unit; needed to cut by time only. */
  time?: ArrayLike<number>
}

/** Options of {@link eventFrames}. */
export interface EventFramesOptions {
  /** Frames T. */
  steps: number
  /** Rows and columns of the sensor. */
  height: number
  width: number
  /** Rows and columns of the frames, where they are fewer: events of neighbouring pixels are added. Default the sensor's. */
  size?: readonly [number, number]
  /** Frames of equally many events (default, the last takes what is left), or of equally long time. */
  by?: 'count' | 'time'
}

/** For each event the frame it falls into. */
function frameOf({ x, time }: Events, steps: number, by: 'count' | 'time'): (event: number) => number {
  const n = x.length
  if (by === 'count') {
    const each = Math.floor(n / steps)
    return (i) => (each === 0 ? Math.min(i, steps - 1) : Math.min(steps - 1, Math.floor(i / each)))
  }
  if (time === undefined) throw new OptionError("eventFrames: by 'time' needs the events' times")
  if (time.length !== n) throw new ShapeError(`eventFrames: ${n} events, but ${time.length} times`)
  const [first, length] = n > 0 ? [time[0], time[n - 1] - time[0]] : [0, 0]
  return (i) => (length > 0 ? Math.min(steps - 1, Math.max(0, Math.floor(((time[i] - first) / length) * steps))) : 0)
}

/**
 * Counts events in T frames of two channels (darker, brighter), as {@link sltt} takes them with `input: 'frames'`: stack those
 * of n recordings to [n, T, height, width, 2].
 *
 * @returns data [T, height, width, 2], row-major
 * @throws OptionError for options out of range; ShapeError for lists of different lengths; DataError for an event outside the
 *   sensor
 *
 * @example
 * ```ts
 * import { eventFrames } from '@bpf/local'
 *
 * const events = { x: [0, 1, 1, 0], y: [0, 0, 1, 1], polarity: [1, 1, 0, 0] }
 * const frames = eventFrames(events, { steps: 2, height: 2, width: 2 })
 * console.log(frames.shape, frames.data)
 * ```
 */
export function eventFrames(events: Events, options: EventFramesOptions): { data: Float32Array; shape: [number, number, number, number] } {
  const { steps, height, width, by = 'count', size: [rows, columns] = [height, width] } = options
  for (const [name, value] of Object.entries({ steps, height, width, 'size[0]': rows, 'size[1]': columns })) {
    if (!Number.isInteger(value) || value < 1) throw new OptionError(`eventFrames: ${name} must be a positive integer, got ${value}`)
  }
  if (rows > height || columns > width) {
    throw new OptionError(`eventFrames: size [${rows}, ${columns}] must be at most the sensor's [${height}, ${width}]`)
  }
  if (by !== 'count' && by !== 'time') throw new OptionError(`eventFrames: by must be 'count' or 'time', got '${String(by)}'`)
  const { x, y, polarity } = events
  if (y.length !== x.length || polarity.length !== x.length) {
    throw new ShapeError(`eventFrames: x has ${x.length} events, y ${y.length}, polarity ${polarity.length}`)
  }
  const frame = frameOf(events, steps, by)
  const data = new Float32Array(steps * rows * columns * 2)
  for (let i = 0; i < x.length; i++) {
    if (!(x[i] >= 0 && x[i] < width && y[i] >= 0 && y[i] < height)) {
      throw new DataError(`eventFrames: event ${i} is at row ${y[i]}, column ${x[i]}, outside the sensor of ${height} × ${width}`)
    }
    const [row, column] = [Math.floor((y[i] * rows) / height), Math.floor((x[i] * columns) / width)]
    data[((frame(i) * rows + row) * columns + column) * 2 + (polarity[i] > 0 ? 1 : 0)]++
  }
  return { data, shape: [steps, rows, columns, 2] }
}
