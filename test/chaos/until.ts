import { setTimeout as delay } from 'node:timers/promises';

const PAUSE_MS = 50;

/** Waits until a check returns true; a check that throws is repeated. @throws when `timeoutMs` are over */
export async function until(what: string, check: () => boolean | Promise<boolean>, timeoutMs = 120_000): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  for (let cause: unknown; ;) {
    try {
      if (await check()) return;
    } catch (error) {
      cause = error;
    }
    if (performance.now() > deadline) throw new Error(`not in ${timeoutMs} ms: ${what}`, { cause });
    await delay(PAUSE_MS);
  }
}
