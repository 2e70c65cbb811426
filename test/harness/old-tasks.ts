import { randomBytes } from 'node:crypto';
import { createIdSource } from '../../src/core/ids.ts';
import type { TaskStatus } from '../../src/core/task.ts';
import type { SweepResult } from '../../src/engine/sweep/sweep-result.ts';
import type { NewSweeper, SweepTestParts } from './sweeping.ts';
import { createDay, insertTasks, PARTITIONED } from './task-rows.ts';

export const DAY = 86_400_000;
export const RETENTION = { RETENTION: 7 * DAY, RETENTION_FAILED: 30 * DAY };

/** The tables in which a task may leave rows, with the column of its id. */
const ROWS = [
  ['submissions', 'id'],
  ['metadata_pairs', 'id'],
  ['unfinished', 'id'],
  ['finished', 'id'],
  ['attempts', 'task_id'],
  ['dlq', 'task_id'],
] as const;

export const midnight = (daysAgo: number): number => Math.floor(Date.now() / DAY) * DAY - daysAgo * DAY;

/** Returns the day in the name of a partition: YYYYMMDD. */
export const dayOf = (daysAgo: number): string =>
  new Date(midnight(daysAgo)).toISOString().slice(0, 10).replaceAll('-', '');

/** Returns the date of the day in a partition's name. */
export const dateOf = (day: string): string => `${day.slice(0, 4)}-${day.slice(4, 6)}-${day.slice(6)}`;

export interface OldTask {
  readonly finishedDaysAgo?: number;
  /** False: nothing is kept of the task once it is COMPLETED. */
  readonly kept?: boolean;
  /** When the request wanted the task to run. */
  readonly runAtDaysAgo?: number;
}

/** What tests of retention do with a database. */
export interface OldTasks {
  /** Creates the partitions of a past day. @returns the day in their names */
  addDay(daysAgo: number, tables?: readonly string[]): Promise<string>;
  /**
   * Adds a task that was submitted `daysAgo` days ago, with metadata and an earlier attempt, and with a dead letter if it
   * failed.
   * @returns its id
   */
  addTask(daysAgo: number, status: TaskStatus, task?: OldTask): Promise<string>;
  /** Returns the ids of a table, sorted. */
  idsIn(table: (typeof ROWS)[number][0]): Promise<string[]>;
  /** Returns the tables that have rows of a task. */
  tracesOf(id: string): Promise<string[]>;
  /** Returns the partitions of a day, sorted. */
  partitionsOf(day: string): Promise<string[]>;
  /** Prunes until the round is over. */
  pruneAll(options?: NewSweeper): Promise<SweepResult['pruned']>;
}

export function createOldTasks({ sql, newSweeper }: SweepTestParts): OldTasks {
  const noon = (daysAgo: number): string => `'${new Date(midnight(daysAgo) + DAY / 2).toISOString()}'::timestamptz`;
  const idsIn: OldTasks['idsIn'] = async (table) => {
    const column = ROWS.find(([name]) => name === table)?.[1];
    return (await sql<{ id: string }>(`SELECT DISTINCT ${column} AS id FROM ${table} ORDER BY 1`)).map(({ id }) => id);
  };

  return {
    async addDay(daysAgo, tables = PARTITIONED) {
      const day = dayOf(daysAgo);
      for (const statement of createDay(day, tables)) await sql(statement);
      return day;
    },
    async addTask(daysAgo, status, { finishedDaysAgo = daysAgo, kept = true, runAtDaysAgo } = {}) {
      const id = createIdSource(() => midnight(daysAgo) + DAY / 2, randomBytes).next('default');
      await sql(
        insertTasks({
          id: '$1::uuid',
          status: `'${status}'`,
          attempt: '2',
          finished_at: noon(finishedDaysAgo),
          keep_completed: String(kept),
          metadata: `json_build_object('customer', 'c', 'note', repeat('n', 300))`,
          ...(runAtDaysAgo === undefined ? {} : { asked_run_at: noon(runAtDaysAgo) }),
        }),
        [id],
      );
      await sql(
        `INSERT INTO attempts (task_id, attempt, worker_id, ordinal, started_at, finished_at, outcome)
         VALUES ($1, 1, 'w.1', 1, now(), now(), 'RETRIED')`,
        [id],
      );
      if (status === 'FAILED') {
        await sql(
          `INSERT INTO dlq (task_id, attempt, queue, priority, reason, errors, failed_at) VALUES ($1, 2, 'default', 2, 'final_error', '[]', now())`,
          [id],
        );
      }
      return id;
    },
    idsIn,
    async tracesOf(id) {
      const found: string[] = [];
      for (const [table] of ROWS) if ((await idsIn(table)).includes(id)) found.push(table);
      return found;
    },
    async partitionsOf(day) {
      const rows = await sql<{ name: string }>(
        `SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhrelid::regclass::text LIKE '%' || $1 ORDER BY 1`,
        [`_${day}`],
      );
      return rows.map(({ name }) => name);
    },
    async pruneAll({ limits, settings, ...options } = {}) {
      const total = { keys: 0, tasks: 0, days: 0, queues: 0 };
      const sweeper = newSweeper({
        ...options,
        settings: { ...RETENTION, ...settings },
        limits: { pruneIntervalMs: 0, pastDayPauseMs: 0, batchRows: 4, dutyMs: 0, ...limits },
      });
      for (;;) {
        const result = await sweeper.runOnce('reclaimer');
        if (result === null) throw new Error('nobody else sweeps');
        total.keys += result.pruned.keys;
        total.tasks += result.pruned.tasks;
        total.days += result.pruned.days;
        const [row] = await sql<{ over: boolean }>(
          `SELECT coalesce(cursors #>> '{prune,phase}', cursors #>> '{places,prune-rows,after}') IS NULL AS over FROM sweeper`,
        );
        if (row?.over === true) return total;
      }
    },
  };
}
