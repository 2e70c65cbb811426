import { setTimeout as delay } from 'node:timers/promises';
import type { Contender } from '../contender.ts';

/** Resolves when the store of a contender has no unfinished task: handlers return before their outcome is stored. */
export async function untilFinished(contender: Contender, everyMs = 10): Promise<void> {
  while ((await contender.unfinished()) > 0) await delay(everyMs);
}
