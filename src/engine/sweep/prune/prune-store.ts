import { SWEEP_STATEMENT_TIMEOUT_MS } from '../../../config/timings.ts';
import type { Database } from '../../../postgres/database.ts';
import type { IdSlice } from '../../../postgres/id-slice.ts';
import { loadSql } from '../../../postgres/sql.ts';
import type { LeaseToken } from '../lease-store.ts';

export interface Retention {
  /** Retention of COMPLETED and CANCELLED tasks. */
  readonly retentionMs: number;
  readonly failedRetentionMs: number;
}

/**
 * Makes the partitions of days, and deletes old rows and partitions. Every method throws `StoreUnavailableError` when
 * PostgreSQL did not answer; its effect may still have happened.
 */
export interface PruneStore {
  ensurePartitions(daysAhead: number): Promise<number>;
  pruneKeys(token: LeaseToken, most: number): Promise<number>;
  pruneTasks(
    token: LeaseToken,
    after: string,
    retention: Retention,
    most: number,
  ): Promise<IdSlice & { readonly deleted: number }>;
  /** Returns the days (YYYY-MM-DD) whose partitions can only have tasks older than a retention, oldest first. */
  pastDays(retention: Retention): Promise<string[]>;
  surveyDay(
    day: string,
    after: string,
    retention: Retention,
    most: number,
  ): Promise<IdSlice & { readonly wanted: boolean }>;
  /** Returns false if the day cannot be dropped now. */
  dropDay(token: LeaseToken, day: string): Promise<boolean>;
}

const ENSURE_PARTITIONS = loadSql(import.meta.dirname, 'ensure-partitions');
const PRUNE_KEYS = loadSql(import.meta.dirname, 'prune-keys');
const PRUNE_TASKS = loadSql(import.meta.dirname, 'prune-tasks');
const PAST_DAYS = loadSql(import.meta.dirname, 'past-days');
const SURVEY_DAY = loadSql(import.meta.dirname, 'survey-day');
const DROP_DAY = loadSql(import.meta.dirname, 'drop-day');

export function createPruneStore({ runWithin }: Pick<Database, 'runWithin'>): PruneStore {
  const runShort = runWithin(SWEEP_STATEMENT_TIMEOUT_MS);
  return {
    async ensurePartitions(daysAhead) {
      const [row] = await runShort<{ made: number }>(ENSURE_PARTITIONS, [daysAhead]);
      return row?.made ?? 0;
    },
    async pruneKeys({ holder, pass }, most) {
      const [row] = await runShort<{ deleted: number }>(PRUNE_KEYS, [holder, pass, most]);
      return row?.deleted ?? 0;
    },
    async pruneTasks({ holder, pass }, after, { retentionMs, failedRetentionMs }, most) {
      const [row] = await runShort<SliceRow & { deleted: number }>(PRUNE_TASKS, [
        holder,
        pass,
        after,
        retentionMs,
        failedRetentionMs,
        most,
      ]);
      return { looked: row?.looked ?? 0, lastId: row?.last ?? null, deleted: row?.deleted ?? 0 };
    },
    async pastDays({ retentionMs, failedRetentionMs }) {
      const rows = await runShort<{ day: string }>(PAST_DAYS, [retentionMs, failedRetentionMs]);
      return rows.map(({ day }) => day);
    },
    async surveyDay(day, after, { retentionMs, failedRetentionMs }, most) {
      const [row] = await runShort<SliceRow & { wanted: boolean }>(SURVEY_DAY, [
        day,
        after,
        retentionMs,
        failedRetentionMs,
        most,
      ]);
      return { looked: row?.looked ?? 0, lastId: row?.last ?? null, wanted: row?.wanted ?? false };
    },
    async dropDay({ holder, pass }, day) {
      const [row] = await runShort<{ dropped: boolean }>(DROP_DAY, [holder, pass, day]);
      return row?.dropped ?? false;
    },
  };
}

interface SliceRow {
  readonly looked: number;
  readonly last: string | null;
}
