/** One array after the other. (Spread arguments would overflow the stack on large graphs.) */
export function joined<A extends Int32Array | Float32Array>(a: A, b: ArrayLike<number>): A {
  const out = new (a.constructor as new (length: number) => A)(a.length + b.length)
  out.set(a)
  out.set(b, a.length)
  return out
}
