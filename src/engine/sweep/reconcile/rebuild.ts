import { randomBytes } from 'node:crypto';
import { FIRST_ID } from '../../../core/ids.ts';
import type { RebuildCursor } from '../cursors.ts';
import type { Pass } from '../lease.ts';
import { enterRunning, note } from './claims.ts';
import type { SweptQueue } from './findings.ts';
import type { ReconcileContext, ReconcileDuty } from './reconcile-context.ts';

/**
 * Fills queues again that Redis has lost, or for which it has old data. One walk over the rows fills all of these
 * queues. Workers claim meanwhile. A walk that is too long for one pass goes on in the next one, so that reclaim does
 * not wait for it. Queues that are lost during a walk wait for the next walk.
 */
export async function rebuild(context: ReconcileDuty, pass: Pass, queues: readonly SweptQueue[]): Promise<void> {
  const { log, members } = context;
  let cursor: RebuildCursor | null = pass.cursors.rebuild ?? null;
  let names = namesOf(queues, (queue) => queue.nonce !== null && queue.nonce === cursor?.nonce);
  if (cursor === null || names.length === 0) {
    delete pass.cursors.rebuild;
    names = namesOf(queues, (queue) => queue.state !== 'whole');
    if (names.length === 0) return;
    const nonce = randomBytes(8).toString('hex');
    await Promise.all(names.map((name) => members.beginRebuild(name, nonce)));
    cursor = { nonce, tasks: 0, phase: 'running', after: { workerId: '', id: FIRST_ID } };
    log.info({ queues: names.length, firstQueue: names[0] }, 'rebuilding queues in Redis');
  }

  for (;;) {
    await pass.keep();
    const page = await rebuildPage(context, pass, names, cursor);
    cursor = page.next;
    if (page.isLast) break;
    // Store the place after every page. If the next page fails, the next pass goes on from here.
    pass.cursors.rebuild = cursor;
    if (context.isSpent()) {
      pass.result.more = true;
      return;
    }
  }
  const { nonce, tasks } = cursor;
  const ends = await Promise.all(names.map((name) => members.endRebuild(name, nonce)));
  delete pass.cursors.rebuild;
  pass.result.rebuilt = ends.filter(Boolean).length;
  // If a mark was gone, Redis has lost its data again, and the next pass should come at once.
  if (pass.result.rebuilt < names.length) pass.result.more = true;
  // A new queue is rebuilt too, with nothing to enter. If tasks were missing, Redis has lost them, which it should not.
  const level = tasks > 0 ? 'warn' : 'info';
  log[level]({ queues: pass.result.rebuilt, tasks }, 'queues in Redis are whole');
}

interface RebuiltPage {
  /** Where to go on. */
  readonly next: RebuildCursor;
  readonly isLast: boolean;
}

/** Enters one page of tasks. */
async function rebuildPage(
  context: ReconcileContext,
  pass: Pass,
  names: readonly string[],
  cursor: RebuildCursor,
): Promise<RebuiltPage> {
  const { store, queue, limits } = context;
  const { nonce } = cursor;
  let { tasks } = cursor;
  const count = (entered: number): void => {
    note(pass, 'rebuild', entered);
    tasks += entered;
  };
  if (cursor.phase === 'running') {
    const rows = await store.processingOfQueues(names, cursor.after, limits.rebuildRows);
    count(await enterRunning(context, rows));
    const last = rows.at(-1);
    const next: RebuildCursor =
      last === undefined || rows.length < limits.rebuildRows
        ? { nonce, tasks, phase: 'waiting', after: null }
        : { nonce, tasks, phase: 'running', after: { workerId: last.workerId, id: last.position.id } };
    return { next, isLast: false };
  }

  const rows = await store.waitingOfQueues(names, cursor.after, limits.rebuildRows);
  for (const [name, ofQueue] of Map.groupBy(rows, (row) => row.queue)) {
    const runnable = ofQueue.map(({ position, waitMs }) => ({ position, waitMs: Math.max(0, waitMs) }));
    count(await queue.enqueue(name, runnable));
  }
  const last = rows.at(-1);
  return {
    next: { nonce, tasks, phase: 'waiting', after: last?.position ?? null },
    isLast: last === undefined || rows.length < limits.rebuildRows,
  };
}

function namesOf(queues: readonly SweptQueue[], isMeant: (queue: SweptQueue) => boolean): string[] {
  return queues.filter(isMeant).map(({ name }) => name);
}
