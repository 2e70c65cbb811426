import { FIRST_ID } from '../../../core/ids.ts';
import { memberOf } from '../../../core/priority.ts';
import type { WaitingTask } from '../../order/task-states.ts';
import type { ReconcileCause } from '../lease-store.ts';
import type { Pass } from '../lease.ts';
import { note } from './claims.ts';
import type { ReconcileContext, ReconcileDuty } from './reconcile-context.ts';

/**
 * Checks every task that became runnable since the watermark, and enters tasks that Redis does not have, for instance
 * because a process died between a commit and its call of Redis. The watermark moves only after a whole range has been
 * checked.
 */
export async function checkWatermark(context: ReconcileDuty, pass: Pass): Promise<void> {
  const { store, limits } = context;
  const { rangeFrom, rangeTo } = pass.grant;
  const range = pass.cursors.range ?? { runAt: rangeFrom, id: FIRST_ID, toRunAt: rangeTo };
  let { runAt, id } = range;
  for (;;) {
    await pass.keep();
    const rows = await store.waitingRange({ runAt, id }, range.toRunAt, limits.pageRows);
    await enterMissing(context, pass, rows, 'watermark');
    const last = rows.at(-1);
    if (last === undefined || rows.length < limits.pageRows) {
      pass.watermark = range.toRunAt;
      delete pass.cursors.range;
      return;
    }
    ({ runAt } = last);
    ({ id } = last.position);
    // Store the place after every page. If the next page fails, the next pass goes on from here.
    pass.cursors.range = { runAt, id, toRunAt: range.toRunAt };
    if (context.isSpent()) break;
  }
  pass.result.more = true;
}

/** Enters waiting tasks that are missing in Redis, and ends claims that have blocked a waiting task for too long. */
export async function enterMissing(
  context: ReconcileContext,
  pass: Pass,
  tasks: readonly WaitingTask[],
  cause: ReconcileCause,
): Promise<void> {
  const { members, queue: taskQueue, limits } = context;
  for (const [queue, ofQueue] of Map.groupBy(tasks, (task) => task.queue)) {
    const byMember = new Map(ofQueue.map((task) => [memberOf(task.position), task]));
    const missing = await members.missing(queue, [...byMember.keys()], limits.claimLostAfterMs);
    const taskOf = (member: string): WaitingTask => byMember.get(member) as WaitingTask;

    const absent = missing.filter(({ value }) => value === '').map(({ member }) => taskOf(member));
    if (absent.length > 0) {
      const runnable = absent.map(({ position, waitMs }) => ({ position, waitMs: Math.max(0, waitMs) }));
      note(pass, cause, await taskQueue.enqueue(queue, runnable));
      context.log.debug({ queue, cause, tasks: absent.length }, 'tasks were missing in Redis');
    }
    const lost = missing.filter(({ value }) => value !== '').map((claim) => ({ claim, back: taskOf(claim.member) }));
    note(pass, 'claim', await members.endClaims(queue, lost));
  }
}
