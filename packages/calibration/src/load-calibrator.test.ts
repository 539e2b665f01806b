import { isBpfError } from '@bpf/core'
import { describe, expect, it } from 'vitest'
import { synthetic } from '../test/synthetic'
import { loadCalibrator } from './load-calibrator'
import { fitTemperature } from './temperature-scaling'

const { rows, labels } = synthetic(61, 240, 3)

describe('loadCalibrator', () => {
  it('gives back what plain JSON of a saved state describes', () => {
    const loaded = loadCalibrator({ kind: 'temperature', version: 1, classes: 2, parameters: { temperature: 2 } })
    expect(loaded.apply([[0, 2]])[0][1]).toBeCloseTo(1 / (1 + Math.exp(-1)), 12)
  })

  it('refuses what is no saved calibrator', async () => {
    const state = (await fitTemperature(rows, labels)).save()
    for (const [bad, pattern] of [
      [{ ...state, kind: 'toString' }, /unknown kind 'toString'/],
      [{ ...state, version: 2 }, /expected version 1/],
      [{ ...state, classes: 0 }, /classes/],
      [{ ...state, parameters: {} }, /parameters.temperature should be a number/],
      [{ ...state, parameters: null }, /parameters are missing/],
      [null, /unknown kind/],
    ] as const) {
      let message = ''
      try {
        loadCalibrator(bad as unknown as typeof state)
      } catch (error) {
        expect(isBpfError(error, 'DataError')).toBe(true)
        message = (error as Error).message
      }
      expect(message).toMatch(pattern)
    }
  })
})
