import type { PlanetoidFiles } from '../planetoid'

/** A graph of five nodes in the layout of Planetoid's Python 2 pickles (scipy CSR, numpy, defaultdict), as base64. */
const encoded: Record<keyof PlanetoidFiles, string> = {
  x: 'gAJjc2NpcHkuc3BhcnNlLmNzcgpjc3JfbWF0cml4CimBfShVBl9zaGFwZUsCSwOGVQZpbmRwdHJjbnVtcHkuY29yZS5tdWx0aWFycmF5Cl9yZWNvbnN0cnVjdApjbnVtcHkKbmRhcnJheQpLAIVVAWKHUihLAShLA3RjbnVtcHkKZHR5cGUKVQJpNEsASwGHUihLA1UBPE5OTkr/////Sv////9LAHRiiVQMAAAAAAAAAAEAAAACAAAAdGJVB2luZGljZXNjbnVtcHkuY29yZS5tdWx0aWFycmF5Cl9yZWNvbnN0cnVjdApjbnVtcHkKbmRhcnJheQpLAIVVAWKHUihLAShLAnRjbnVtcHkKZHR5cGUKVQJpNEsASwGHUihLA1UBPE5OTkr/////Sv////9LAHRiiVQIAAAAAAAAAAEAAAB0YlUEZGF0YWNudW1weS5jb3JlLm11bHRpYXJyYXkKX3JlY29uc3RydWN0CmNudW1weQpuZGFycmF5CksAhVUBYodSKEsBKEsCdGNudW1weQpkdHlwZQpVAmY0SwBLAYdSKEsDVQE8Tk5OSv////9K/////0sAdGKJVAgAAAAAAIA/AACAP3RidWIu',
  y: 'gAJjbnVtcHkuY29yZS5tdWx0aWFycmF5Cl9yZWNvbnN0cnVjdApjbnVtcHkKbmRhcnJheQpLAIVVAWKHUihLAShLAksCdGNudW1weQpkdHlwZQpVAmk0SwBLAYdSKEsDVQE8Tk5OSv////9K/////0sAdGKJVBAAAAABAAAAAAAAAAAAAAABAAAAdGIu',
  tx: 'gAJjc2NpcHkuc3BhcnNlLmNzcgpjc3JfbWF0cml4CimBfShVBl9zaGFwZUsCSwOGVQZpbmRwdHJjbnVtcHkuY29yZS5tdWx0aWFycmF5Cl9yZWNvbnN0cnVjdApjbnVtcHkKbmRhcnJheQpLAIVVAWKHUihLAShLA3RjbnVtcHkKZHR5cGUKVQJpNEsASwGHUihLA1UBPE5OTkr/////Sv////9LAHRiiVQMAAAAAAAAAAEAAAACAAAAdGJVB2luZGljZXNjbnVtcHkuY29yZS5tdWx0aWFycmF5Cl9yZWNvbnN0cnVjdApjbnVtcHkKbmRhcnJheQpLAIVVAWKHUihLAShLAnRjbnVtcHkKZHR5cGUKVQJpNEsASwGHUihLA1UBPE5OTkr/////Sv////9LAHRiiVQIAAAAAgAAAAEAAAB0YlUEZGF0YWNudW1weS5jb3JlLm11bHRpYXJyYXkKX3JlY29uc3RydWN0CmNudW1weQpuZGFycmF5CksAhVUBYodSKEsBKEsCdGNudW1weQpkdHlwZQpVAmY0SwBLAYdSKEsDVQE8Tk5OSv////9K/////0sAdGKJVAgAAAAAAABAAABAQHRidWIu',
  ty: 'gAJjbnVtcHkuY29yZS5tdWx0aWFycmF5Cl9yZWNvbnN0cnVjdApjbnVtcHkKbmRhcnJheQpLAIVVAWKHUihLAShLAksCdGNudW1weQpkdHlwZQpVAmk0SwBLAYdSKEsDVQE8Tk5OSv////9K/////0sAdGKJVBAAAAABAAAAAAAAAAAAAAABAAAAdGIu',
  allx: 'gAJjc2NpcHkuc3BhcnNlLmNzcgpjc3JfbWF0cml4CimBfShVBl9zaGFwZUsDSwOGVQZpbmRwdHJjbnVtcHkuY29yZS5tdWx0aWFycmF5Cl9yZWNvbnN0cnVjdApjbnVtcHkKbmRhcnJheQpLAIVVAWKHUihLAShLBHRjbnVtcHkKZHR5cGUKVQJpNEsASwGHUihLA1UBPE5OTkr/////Sv////9LAHRiiVQQAAAAAAAAAAEAAAACAAAABAAAAHRiVQdpbmRpY2VzY251bXB5LmNvcmUubXVsdGlhcnJheQpfcmVjb25zdHJ1Y3QKY251bXB5Cm5kYXJyYXkKSwCFVQFih1IoSwEoSwR0Y251bXB5CmR0eXBlClUCaTRLAEsBh1IoSwNVATxOTk5K/////0r/////SwB0YolUEAAAAAAAAAABAAAAAAAAAAEAAAB0YlUEZGF0YWNudW1weS5jb3JlLm11bHRpYXJyYXkKX3JlY29uc3RydWN0CmNudW1weQpuZGFycmF5CksAhVUBYodSKEsBKEsEdGNudW1weQpkdHlwZQpVAmY0SwBLAYdSKEsDVQE8Tk5OSv////9K/////0sAdGKJVBAAAAAAAIA/AACAPwAAgD8AAIA/dGJ1Yi4=',
  ally: 'gAJjbnVtcHkuY29yZS5tdWx0aWFycmF5Cl9yZWNvbnN0cnVjdApjbnVtcHkKbmRhcnJheQpLAIVVAWKHUihLAShLA0sCdGNudW1weQpkdHlwZQpVAmk0SwBLAYdSKEsDVQE8Tk5OSv////9K/////0sAdGKJVBgAAAABAAAAAAAAAAAAAAABAAAAAQAAAAAAAAB0Yi4=',
  graph: 'gAJjY29sbGVjdGlvbnMKZGVmYXVsdGRpY3QKY19fYnVpbHRpbl9fCmxpc3QKhVIoSwBdKEsBSwBLAWVLAV0oSwBLAmVLAl0oSwFLBGVLA10oSwRlSwRdKEsCSwNldS4=',
  testIndex: 'NAozCg==',
}

/** Its files as bytes. */
export function tinyPlanetoid(): PlanetoidFiles {
  const bytes = (name: keyof PlanetoidFiles): Uint8Array => new Uint8Array(Buffer.from(encoded[name], 'base64'))
  return {
    x: bytes('x'),
    y: bytes('y'),
    tx: bytes('tx'),
    ty: bytes('ty'),
    allx: bytes('allx'),
    ally: bytes('ally'),
    graph: bytes('graph'),
    testIndex: bytes('testIndex'),
  }
}
