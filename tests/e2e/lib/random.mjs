// Repeatable randomness: a seed from the environment, or a fresh one that is printed.
import { randomInt } from 'node:crypto';

export const seed = Number(process.env.E2E_SEED ?? randomInt(2 ** 31));

/** mulberry32: numbers in [0, 1) that depend on the seed alone. */
export function generator(from = seed) {
  let state = from >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
