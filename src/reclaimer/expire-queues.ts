import { FIRST_ID } from '../core/ids.ts';
import { SURVEYED_TASKS } from '../store/queue-store.ts';
import type { ExpiryCursor } from './cursors.ts';
import type { DutyContext, DutyEnd } from './duty.ts';
import type { Pass } from './lease.ts';

/**
 * Deletes queues of which there has been no task for `QUEUES_EXPIRY`. There is no index of tasks by queue, so that a round looks
 * at all tasks in slices, and only when a queue has not been seen to be used for that long. A queue that has tasks then is
 * noted as used now, and is not looked for again before the time has passed once more.
 */
export async function expireQueues(context: DutyContext, pass: Pass): Promise<DutyEnd> {
  const { store, settings, isSpent } = context;
  if (settings.QUEUES_EXPIRY === 0) return 'ended';
  let place: ExpiryCursor = pass.cursors.expiry ?? { sinceMs: pass.grant.nowMs, after: FIRST_ID };
  // Kept only when a slice went well: after a failure, the next round begins anew.
  delete pass.cursors.expiry;
  for (;;) {
    await pass.keep();
    const names = await store.unusedQueues(place.sinceMs - settings.QUEUES_EXPIRY);
    if (names.length === 0) return 'ended';
    const { looked, lastId, used } = await store.surveyQueues(names, place.after, SURVEYED_TASKS);
    if (used.length > 0) await store.noteQueuesUsed(used);
    if (looked < SURVEYED_TASKS || lastId === null) {
      await deleteExpired(context, pass, [...new Set(names).difference(new Set(used))], place.sinceMs);
      return 'ended';
    }
    place = { sinceMs: place.sinceMs, after: lastId };
    if (isSpent()) {
      pass.cursors.expiry = place;
      return 'unfinished';
    }
  }
}

/** What there is no time for expires in a later round. */
async function deleteExpired(
  { store, queue, log, isSpent }: DutyContext,
  pass: Pass,
  names: readonly string[],
  sinceMs: number,
): Promise<void> {
  for (const name of names) {
    await pass.keep();
    if ((await store.deleteUnused(name, sinceMs, queue.forget)) === null) {
      pass.result.pruned.queues++;
      log.info({ queue: name }, 'queue deleted, since there has been no task of it for long');
    }
    if (isSpent()) return;
  }
}
