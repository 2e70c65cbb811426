import type { Config } from '../../config/env.ts';
import { SWEEP_STATEMENT_TIMEOUT_MS } from '../../config/timings.ts';
import { FIRST_ID } from '../../core/ids.ts';
import type { SweepConnections } from '../../engine/sweep/duties.ts';
import type { Duty, DutyContext, DutyEnd } from '../../engine/sweep/duty.ts';
import type { Pass } from '../../engine/sweep/lease.ts';
import type { SweepLimits } from '../../engine/sweep/sweep-context.ts';
import { createQueueStore, SURVEYED_TASKS, type ForgetQueue, type QueueStore } from './queue-store.ts';

interface ExpiryParts {
  readonly store: QueueStore;
  readonly forget: ForgetQueue;
  /** 0 keeps all queues. */
  readonly expiryMs: number;
}

/** How far a round has come that looks through all tasks for queues without tasks. */
interface ExpiryPlace {
  /** Start of the round: milliseconds since 1970 by PostgreSQL's clock. */
  readonly sinceMs: number;
  /** Id of the last task that was looked at. */
  readonly after: string;
}

/** Makes the duty that deletes unused queues. */
export function expireQueuesDuty(
  { database, queue }: SweepConnections,
  { QUEUES_EXPIRY: expiryMs }: Pick<Config, 'QUEUES_EXPIRY'>,
  { dutyMs, pruneIntervalMs }: SweepLimits,
): Duty {
  const store = createQueueStore(database, SWEEP_STATEMENT_TIMEOUT_MS);
  const parts: ExpiryParts = { store, forget: queue.forget, expiryMs };
  return {
    name: 'expire-queues',
    budgetMs: dutyMs,
    everyMs: pruneIntervalMs,
    housekeeping: true,
    // Where the queues cannot be looked at, their table is locked or away.
    needs: ['queues'],
    run: (context, pass) => expireQueues(context, pass, parts),
  };
}

/**
 * Deletes queues that have had no task for `QUEUES_EXPIRY`. Tasks have no index by queue, so a round looks at all tasks
 * in slices, and starts only if some queue has no known use for that time. A queue that still has tasks is noted as
 * used now, so it is not checked again until the time has passed once more.
 */
async function expireQueues(context: DutyContext, pass: Pass, parts: ExpiryParts): Promise<DutyEnd> {
  const { isSpent } = context;
  const { store, expiryMs } = parts;
  if (expiryMs === 0) return 'ended';
  let place = (context.place.get() as ExpiryPlace | undefined) ?? { sinceMs: pass.grant.nowMs, after: FIRST_ID };
  // The place is stored only after a successful slice. After a failure, the next pass starts a new round.
  context.place.set(undefined);
  for (;;) {
    await pass.keep();
    const names = await store.unusedQueues(place.sinceMs - expiryMs);
    if (names.length === 0) return 'ended';
    const { looked, lastId, used } = await store.surveyQueues(names, place.after, SURVEYED_TASKS);
    if (used.length > 0) await store.noteQueuesUsed(used);
    if (looked < SURVEYED_TASKS || lastId === null) {
      await deleteExpired(context, pass, parts, [...new Set(names).difference(new Set(used))], place.sinceMs);
      return 'ended';
    }
    place = { sinceMs: place.sinceMs, after: lastId };
    if (isSpent()) {
      context.place.set(place);
      return 'unfinished';
    }
  }
}

/** Deletes the queues until the budget is spent. The rest is deleted in a later round. */
async function deleteExpired(
  { log, isSpent }: DutyContext,
  pass: Pass,
  { store, forget }: ExpiryParts,
  names: readonly string[],
  sinceMs: number,
): Promise<void> {
  for (const name of names) {
    await pass.keep();
    if ((await store.deleteUnused(name, sinceMs, forget)) === null) {
      pass.result.counted['queues_expired'] = (pass.result.counted['queues_expired'] ?? 0) + 1;
      log.info({ queue: name }, 'unused queue deleted');
    }
    if (isSpent()) return;
  }
}
