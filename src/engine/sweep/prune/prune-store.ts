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
  ): Promise<IdSlice & { readonly wanted: boolean; readonly now: string }>;
  /** Deletes open dead letters of a day that is to be dropped. Returns their number. */
  unburyDay(token: LeaseToken, day: string, most: number): Promise<number>;
  /**
   * Returns false if the day cannot be dropped now.
   * @param surveyedSince when the survey of the day began, in PostgreSQL's text format
   */
  dropDay(token: LeaseToken, day: string, surveyedSince: string): Promise<boolean>;
  /** Rebuilds the largest bloated index. Returns its name; null if none is bloated, or it has to wait. */
  rebuildIndex(token: LeaseToken): Promise<string | null>;
}

const ENSURE_PARTITIONS = loadSql(import.meta.dirname, 'ensure-partitions');
const PRUNE_KEYS = loadSql(import.meta.dirname, 'prune-keys');
const PRUNE_TASKS = loadSql(import.meta.dirname, 'prune-tasks');
const PAST_DAYS = loadSql(import.meta.dirname, 'past-days');
const SURVEY_DAY = loadSql(import.meta.dirname, 'survey-day');
const UNBURY_DAY = loadSql(import.meta.dirname, 'unbury-day');
const DROP_DAY = loadSql(import.meta.dirname, 'drop-day');
const REBUILD_INDEX = loadSql(import.meta.dirname, 'rebuild-index');

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
      const [row] = await runShort<SliceRow & { wanted: boolean; now: string }>(SURVEY_DAY, [
        day,
        after,
        retentionMs,
        failedRetentionMs,
        most,
      ]);
      if (row === undefined) throw new Error('survey-day returned no row');
      return { looked: row.looked, lastId: row.last, wanted: row.wanted, now: row.now };
    },
    async unburyDay({ holder, pass }, day, most) {
      const [row] = await runShort<{ deleted: number }>(UNBURY_DAY, [holder, pass, day, most]);
      return row?.deleted ?? 0;
    },
    async dropDay({ holder, pass }, day, surveyedSince) {
      const [row] = await runShort<{ dropped: boolean }>(DROP_DAY, [holder, pass, day, surveyedSince]);
      return row?.dropped ?? false;
    },
    async rebuildIndex({ holder, pass }) {
      const [row] = await runShort<{ rebuilt: string | null }>(REBUILD_INDEX, [holder, pass]);
      return row?.rebuilt ?? null;
    },
  };
}

interface SliceRow {
  readonly looked: number;
  readonly last: string | null;
}
