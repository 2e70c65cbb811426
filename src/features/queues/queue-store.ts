import { QUEUE_SUBMISSION_LAG_MS, QUEUE_SURVEY_MS, STATEMENT_TIMEOUT_MS } from '../../config/timings.ts';
import type { Actor, AuditAction } from '../../core/access/audit.ts';
import { SchedulerError, StatementTimedOutError } from '../../core/errors.ts';
import { FIRST_ID } from '../../core/ids.ts';
import { DEFAULT_QUEUE } from '../../core/task.ts';
import type { StoredQueue } from '../../engine/order/queue-settings.ts';
import { actorValues } from '../../postgres/audit/write-audit.ts';
import type { Database, Run } from '../../postgres/database.ts';
import type { IdSlice } from '../../postgres/id-slice.ts';
import { loadSql } from '../../postgres/sql.ts';

/** The reason why a queue cannot be deleted. `in_use` means that a submission to it is in progress. */
export type QueueUse = 'default' | 'paused' | 'unfinished' | 'dead_letters' | 'kept' | 'in_use';

/**
 * Removes a queue's keys from Redis. It is called before the deletion is committed, so it cannot remove tasks of later
 * submissions: these wait for the commit and enqueue their tasks after it.
 */
export type ForgetQueue = (name: string) => Promise<void>;

/**
 * Changes the settings of queues, and deletes queues that have no tasks, not even finished ones that are still kept. A
 * change of an actor leaves a row in the audit log. Throws as `Database` does.
 */
export interface QueueStore {
  /** Pauses or resumes a queue. Returns null for an unknown queue. */
  setPaused(queue: string, paused: boolean, by: Actor): Promise<StoredQueue | null>;
  /**
   * Sets whether tasks that are submitted from now on are kept when they complete. Returns null for an unknown queue.
   */
  setKeepCompleted(queue: string, keepCompleted: boolean, by: Actor): Promise<StoredQueue | null>;
  /**
   * Looks at all tasks in slices, and deletes the queue if no task belongs to it.
   * @returns null if the queue was deleted
   * @throws StatementTimedOutError if this took longer than `QUEUE_SURVEY_MS`; nothing was changed
   */
  deleteQueue(name: string, forget: ForgetQueue, by: Actor): Promise<QueueUse | 'unknown' | null>;
  /**
   * Deletes a queue for which all tasks were checked already, unless it has settings that would be lost. It looks only
   * at tasks whose ids were made after `sinceMs` or shortly before.
   */
  deleteUnused(name: string, sinceMs: number, forget: ForgetQueue): Promise<'in_use' | 'unknown' | null>;
  /**
   * Returns queues whose last known use was before a time of PostgreSQL's clock, without `default` and without queues
   * that have settings.
   */
  unusedQueues(beforeMs: number): Promise<string[]>;
  /** Looks at the next tasks by id, and returns which of the given queues they belong to. */
  surveyQueues(names: readonly string[], after: string, most: number): Promise<IdSlice & { readonly used: string[] }>;
  noteQueuesUsed(names: readonly string[]): Promise<void>;
}

const CHANGE_QUEUE = loadSql(import.meta.dirname, 'change-queue');
const LOOK_AT_QUEUE = loadSql(import.meta.dirname, 'look-at-queue');
const SURVEY_QUEUES = loadSql(import.meta.dirname, 'survey-queues');
const UNUSED_QUEUES = loadSql(import.meta.dirname, 'unused-queues');
const NOTE_QUEUES_USED = loadSql(import.meta.dirname, 'note-queues-used');
const HOLD_QUEUE = loadSql(import.meta.dirname, 'hold-queue');
const DELETE_QUEUE = loadSql(import.meta.dirname, 'delete-queue');

/** Number of tasks that a survey looks at in one statement. */
export const SURVEYED_TASKS = 50_000;

/** @param limitMs time limit in milliseconds of the statements that survey tasks and find or note used queues */
export function createQueueStore(
  { run, runWithin, transaction }: Pick<Database, 'run' | 'runWithin' | 'transaction'>,
  limitMs = STATEMENT_TIMEOUT_MS,
): QueueStore {
  const runShort: Run = limitMs < STATEMENT_TIMEOUT_MS ? runWithin(limitMs) : run;

  const surveyQueues: QueueStore['surveyQueues'] = async (names, after, most) => {
    const [row] = await runShort<{ looked: number; last: string | null; used: string[] }>(SURVEY_QUEUES, [
      names,
      after,
      most,
    ]);
    return { looked: row?.looked ?? 0, lastId: row?.last ?? null, used: row?.used ?? [] };
  };

  /** @param settings whether it is paused, and whether it keeps completed tasks; null leaves a setting as it is */
  const change = async (
    queue: string,
    settings: readonly [paused: boolean | null, keepCompleted: boolean | null],
    by: Actor,
    { action, details }: { readonly action: AuditAction; readonly details: string | null },
  ): Promise<StoredQueue | null> => {
    const [row] = await run<StoredQueue>(CHANGE_QUEUE, [queue, ...settings, ...actorValues(by), action, details]);
    return row ?? null;
  };

  /** @param by null if the queue expires; then it stays if it has settings, because nobody wants to lose these */
  const deleteChecked = (
    name: string,
    sinceMs: number,
    forget: ForgetQueue,
    by: Actor | null,
  ): Promise<'in_use' | 'unknown' | null> =>
    transaction(async (within) => {
      const [row] = await within<{ held: boolean }>(HOLD_QUEUE, [name]);
      if (row === undefined) return 'unknown';
      if (!row.held) return 'in_use';
      const deleted = await within(DELETE_QUEUE, [
        name,
        sinceMs - QUEUE_SUBMISSION_LAG_MS,
        by !== null,
        ...(by === null ? [null, null, null, null] : actorValues(by)),
      ]);
      if (deleted.length === 0) return 'in_use';
      await forget(name);
      return null;
    });

  /** Returns whether any task belongs to the queue, including finished ones. */
  const hasTasks = async (name: string): Promise<boolean> => {
    const untilMs = performance.now() + QUEUE_SURVEY_MS;
    let after = FIRST_ID;
    for (;;) {
      const { looked, lastId, used } = await surveyQueues([name], after, SURVEYED_TASKS);
      if (used.length > 0) return true;
      if (looked < SURVEYED_TASKS || lastId === null) return false;
      if (performance.now() > untilMs) throw tooManyTasks();
      after = lastId;
    }
  };

  return {
    surveyQueues,
    deleteUnused: (name, sinceMs, forget) => deleteChecked(name, sinceMs, forget, null),
    setPaused: (queue, paused, by) =>
      change(queue, [paused, null], by, { action: paused ? 'queue.pause' : 'queue.resume', details: null }),
    setKeepCompleted: (queue, keepCompleted, by) =>
      change(queue, [null, keepCompleted], by, {
        action: 'queue.change',
        details: JSON.stringify({ keep_completed: keepCompleted }),
      }),
    async deleteQueue(name, forget, by) {
      const [look] = await run<LookRow>(LOOK_AT_QUEUE, [name]);
      if (look === undefined) return 'unknown';
      if (name === DEFAULT_QUEUE) return 'default';
      if (look.paused) return 'paused';
      if (look.open) return 'unfinished';
      if (look.buried) return 'dead_letters';
      if (await hasTasks(name)) return 'kept';
      return deleteChecked(name, look.now_ms, forget, by);
    },
    async unusedQueues(beforeMs) {
      return (await runShort<{ name: string }>(UNUSED_QUEUES, [beforeMs])).map(({ name }) => name);
    },
    async noteQueuesUsed(names) {
      await runShort(NOTE_QUEUES_USED, [names]);
    },
  };
}

interface LookRow {
  readonly paused: boolean;
  readonly open: boolean;
  readonly buried: boolean;
  readonly now_ms: number;
}

function tooManyTasks(): SchedulerError {
  const cause = new Error(`looking at all tasks takes longer than ${QUEUE_SURVEY_MS} ms`);
  return new StatementTimedOutError(cause, SURVEY_QUEUES.name);
}
