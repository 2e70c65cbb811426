import { QUEUE_SUBMISSION_LAG_MS, QUEUE_SURVEY_MS, STATEMENT_TIMEOUT_MS } from '../../config/timings.ts';
import { SchedulerError, StatementTimedOutError } from '../../core/errors.ts';
import { DEFAULT_QUEUE } from '../../core/task.ts';
import type { Database, Run } from '../../postgres/database.ts';
import { FIRST_ID } from '../../core/ids.ts';
import type { QueueRow } from '../../engine/order/queue-settings.ts';
import type { Slice } from '../../postgres/slice.ts';
import { loadSql } from '../../postgres/sql.ts';

/** Why a queue cannot be deleted; `in_use`: a submission to it is under way. */
export type QueueUse = 'default' | 'paused' | 'unfinished' | 'dead_letters' | 'kept' | 'in_use';

/** Takes a queue's keys out of Redis. Called before the deletion is committed: what is submitted later enters its tasks after that. */
export type ForgetQueue = (name: string) => Promise<void>;

/**
 * Pauses queues, and deletes those of which there are no tasks, finished ones that are kept included. Throws as `Database`
 * does.
 */
export interface QueueStore {
  /** Null for an unknown queue. */
  setPaused(queue: string, paused: boolean): Promise<QueueRow | null>;
  /**
   * Looks at all tasks, in slices, and deletes the queue if none is of it.
   * @returns null if it was deleted
   * @throws StatementTimedOutError when looking took longer than `QUEUE_SURVEY_MS`; nothing was done
   */
  deleteQueue(name: string, forget: ForgetQueue): Promise<QueueUse | 'unknown' | null>;
  /** The same for one that has been looked at: only tasks whose ids were made after `sinceMs`, or shortly before, are looked at. */
  deleteUnused(name: string, sinceMs: number, forget: ForgetQueue): Promise<'in_use' | 'unknown' | null>;
  /** Queues that were last seen to be used before a time of PostgreSQL's clock. Neither paused ones nor `default`. */
  unusedQueues(beforeMs: number): Promise<string[]>;
  /** Which of the queues the next tasks by id are of. */
  surveyQueues(names: readonly string[], after: string, most: number): Promise<Slice & { readonly used: string[] }>;
  noteQueuesUsed(names: readonly string[]): Promise<void>;
}

const SET_PAUSED = loadSql(import.meta.dirname, 'set-paused');
const LOOK_AT_QUEUE = loadSql(import.meta.dirname, 'look-at-queue');
const SURVEY_QUEUES = loadSql(import.meta.dirname, 'survey-queues');
const UNUSED_QUEUES = loadSql(import.meta.dirname, 'unused-queues');
const NOTE_QUEUES_USED = loadSql(import.meta.dirname, 'note-queues-used');
const HOLD_QUEUE = loadSql(import.meta.dirname, 'hold-queue');
const DELETE_QUEUE = loadSql(import.meta.dirname, 'delete-queue');

/** Tasks that a survey looks at in one statement. */
export const SURVEYED_TASKS = 50_000;

/** @param limitMs of one statement that only one queue is looked at with */
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

  const deleteUnused: QueueStore['deleteUnused'] = (name, sinceMs, forget) =>
    transaction(async (within) => {
      const [row] = await within<{ held: boolean }>(HOLD_QUEUE, [name]);
      if (row === undefined) return 'unknown';
      if (!row.held) return 'in_use';
      const deleted = await within(DELETE_QUEUE, [name, sinceMs - QUEUE_SUBMISSION_LAG_MS]);
      if (deleted.length === 0) return 'in_use';
      await forget(name);
      return null;
    });

  /** Whether any task is of the queue, finished ones too. */
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
    deleteUnused,
    async setPaused(queue, paused) {
      const [row] = await run<QueueRow>(SET_PAUSED, [queue, paused]);
      return row ?? null;
    },
    async deleteQueue(name, forget) {
      const [look] = await run<LookRow>(LOOK_AT_QUEUE, [name]);
      if (look === undefined) return 'unknown';
      if (name === DEFAULT_QUEUE) return 'default';
      if (look.paused) return 'paused';
      if (look.open) return 'unfinished';
      if (look.buried) return 'dead_letters';
      if (await hasTasks(name)) return 'kept';
      return deleteUnused(name, look.now_ms, forget);
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
