import { expect, it } from 'vitest'
import { batch, fromArrays } from '../data/index'
import { dispose } from '../tree'
import { deserialize, serialize } from './index'

it('asks for a backend in synchronous functions and chooses one in asynchronous ones', async () => {
  const examples = fromArrays({ x: [1, 2] })
  const file = await serialize({})
  expect(() => deserialize(file)).toThrow(/call await useBackend\(\) once at start/)
  expect(() => examples.rows([0])).toThrow(/call await useBackend\(\) once at start/)
  for await (const { x } of batch(examples, 2).batches()) {
    expect([...x.dataSync()]).toEqual([1, 2])
    dispose(x)
  }
  expect(deserialize(file).tree).toEqual({})
})
