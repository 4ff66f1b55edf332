// Waiting for what must happen; never as a way to order things.
import { setTimeout as delay } from 'node:timers/promises';

const STEP_MS = 5;
/**
 * How long anything may take that normally takes no time: only a fault takes longer, on however busy a machine. No test
 * measures with it.
 */
export const PATIENCE_MS = 60_000;

export { delay };

/** Resolves with the first truthy value of `condition()`, which may be async; fails after `timeoutMs`. */
export async function until(condition, what, timeoutMs = PATIENCE_MS) {
  const limit = performance.now() + timeoutMs;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (performance.now() > limit) throw new Error(`not ${what} within ${timeoutMs} ms`);
    await delay(STEP_MS);
  }
}
