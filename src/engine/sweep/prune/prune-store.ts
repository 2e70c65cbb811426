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

/** A day (UTC) that has partitions. */
export interface Day {
  /** YYYY-MM-DD */
  readonly day: string;
  /** Whether it can only have tasks older than a retention. */
  readonly past: boolean;
  /** Whether it is time to look at it. */
  readonly due: boolean;
  /** The last id that its survey has looked at; null if it has to be surveyed from the start. */
  readonly surveyedTo: string | null;
  /** How many of its tasks had to stay, as far as that is known. */
  readonly held: number | null;
}

/** What a survey has found so far. */
export interface Survey extends IdSlice {
  /** Tasks that must stay. */
  readonly held: number;
  /** Those of them that must stay for another day at least. */
  readonly lasting: number;
}

/** The tasks whose ids are at least `from`, but less than `before`. */
export interface IdRange {
  readonly from: string;
  readonly before: string;
}

/**
 * Makes the partitions of days, and deletes old rows and partitions. Every method throws `StoreUnavailableError` when
 * PostgreSQL did not answer; its effect may still have happened.
 */
export interface PruneStore {
  ensurePartitions(daysAhead: number): Promise<number>;
  pruneKeys(token: LeaseToken, most: number): Promise<number>;
  /** Deletes tasks of a range whose retention is over. */
  pruneTasks(
    token: LeaseToken,
    after: string,
    range: IdRange,
    retention: Retention,
    most: number,
  ): Promise<IdSlice & { readonly deleted: number }>;
  /** Returns the days that have partitions, oldest first. */
  days(retention: Retention): Promise<Day[]>;
  /**
   * Looks at the next tasks of a past day, and notes which of them must stay.
   * @param after `FIRST_ID` begins a new survey
   * @param most how many tasks may stay if the day is to be dropped
   * @returns null once the lease is over
   */
  surveyDay(
    token: LeaseToken,
    day: string,
    after: string,
    retention: Retention,
    look: number,
    most: number,
  ): Promise<Survey | null>;
  /** Notes that a day has to be surveyed anew after a pause. @param held how many tasks must stay; null if unknown */
  noteDay(token: LeaseToken, day: string, held: number | null, pauseMs: number): Promise<void>;
  /** Deletes dead letters of a surveyed day whose tasks need not stay. Returns their number. */
  unburyDay(token: LeaseToken, day: string, most: number): Promise<number>;
  /**
   * Moves the tasks of a surveyed day that must stay to the default partitions, and drops the day. Returns how many were
   * moved, or null if nothing was dropped.
   * @param mostMoved how many tasks may be moved
   */
  dropDay(token: LeaseToken, day: string, mostMoved: number): Promise<number | null>;
  /** Rebuilds the largest bloated index. Returns its name; null if none is bloated, or it has to wait. */
  rebuildIndex(token: LeaseToken): Promise<string | null>;
}

const ENSURE_PARTITIONS = loadSql(import.meta.dirname, 'ensure-partitions');
const PRUNE_KEYS = loadSql(import.meta.dirname, 'prune-keys');
const PRUNE_TASKS = loadSql(import.meta.dirname, 'prune-tasks');
const DAYS = loadSql(import.meta.dirname, 'days');
const SURVEY_DAY = loadSql(import.meta.dirname, 'survey-day');
const NOTE_DAY = loadSql(import.meta.dirname, 'note-day');
const UNBURY_DAY = loadSql(import.meta.dirname, 'unbury-day');
const DROP_DAY = loadSql(import.meta.dirname, 'drop-day');
const REBUILD_INDEX = loadSql(import.meta.dirname, 'rebuild-index');

/**
 * A walk follows the primary key. Of a day without statistics, the planner expects fewer rows than a slice has, and would
 * read and sort the whole day for each slice.
 */
const IN_KEY_ORDER = { enable_sort: 'off' };

export function createPruneStore({ runWithin }: Pick<Database, 'runWithin'>): PruneStore {
  const runShort = runWithin(SWEEP_STATEMENT_TIMEOUT_MS);
  const walk = runWithin(SWEEP_STATEMENT_TIMEOUT_MS, IN_KEY_ORDER);
  return {
    async ensurePartitions(daysAhead) {
      const [row] = await runShort<{ made: number }>(ENSURE_PARTITIONS, [daysAhead]);
      return row?.made ?? 0;
    },
    async pruneKeys({ holder, pass }, most) {
      const [row] = await runShort<{ deleted: number }>(PRUNE_KEYS, [holder, pass, most]);
      return row?.deleted ?? 0;
    },
    async pruneTasks({ holder, pass }, after, { from, before }, { retentionMs, failedRetentionMs }, most) {
      const [row] = await walk<SliceRow & { deleted: number }>(PRUNE_TASKS, [
        holder,
        pass,
        after,
        retentionMs,
        failedRetentionMs,
        most,
        from,
        before,
      ]);
      return { looked: row?.looked ?? 0, lastId: row?.last ?? null, deleted: row?.deleted ?? 0 };
    },
    async days({ retentionMs, failedRetentionMs }) {
      const rows = await runShort<DayRow>(DAYS, [retentionMs, failedRetentionMs]);
      return rows.map(({ surveyed_to: surveyedTo, ...row }) => ({ ...row, surveyedTo }));
    },
    async surveyDay({ holder, pass }, day, after, { retentionMs, failedRetentionMs }, look, most) {
      const [row] = await walk<SliceRow & { held: number; lasting: number }>(SURVEY_DAY, [
        holder,
        pass,
        day,
        after,
        retentionMs,
        failedRetentionMs,
        look,
        most,
      ]);
      if (row === undefined) return null;
      return { looked: row.looked, lastId: row.last, held: row.held, lasting: row.lasting };
    },
    async noteDay({ holder, pass }, day, held, pauseMs) {
      await runShort(NOTE_DAY, [holder, pass, day, held, pauseMs]);
    },
    async unburyDay({ holder, pass }, day, most) {
      const [row] = await runShort<{ deleted: number }>(UNBURY_DAY, [holder, pass, day, most]);
      return row?.deleted ?? 0;
    },
    async dropDay({ holder, pass }, day, mostMoved) {
      const [row] = await runShort<{ moved: number | null }>(DROP_DAY, [holder, pass, day, mostMoved]);
      return row?.moved ?? null;
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

interface DayRow {
  readonly day: string;
  readonly past: boolean;
  readonly due: boolean;
  readonly surveyed_to: string | null;
  readonly held: number | null;
}
