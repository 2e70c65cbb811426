import { SWEEP_STATEMENT_TIMEOUT_MS } from '../config/timings.ts';
import { FIRST_ID } from '../core/ids.ts';
import type { Position, Priority } from '../core/priority.ts';
import type { TaskStatus } from '../core/task.ts';
import type { Database } from './database.ts';
import type { QueueRow } from './queue-settings.ts';
import { createQueueStore, type QueueStore } from './queue-store.ts';
import type { Slice } from './slice.ts';
import { loadSql } from './sql.ts';

/** Who runs a pass: the process made for it, or a worker or an API process that stands in. */
export type SweepRole = 'reclaimer' | 'worker' | 'api';

/** Why an entry of Redis was put right. */
export const RECONCILE_CAUSES = ['watermark', 'scan', 'rebuild', 'claim', 'stale'] as const;
export type ReconcileCause = (typeof RECONCILE_CAUSES)[number];

/** What every write of a pass carries; once the lease is over, the write does nothing. */
export interface LeaseToken {
  readonly holder: string;
  readonly pass: number;
}

/** A lease as it was taken. Times of `run_at` are texts, which keep their microseconds and infinities. */
export interface LeaseGrant extends LeaseToken {
  /** The watermark looks at tasks that were due after `rangeFrom` … */
  readonly rangeFrom: string;
  /** … up to this. */
  readonly rangeTo: string;
  /** JSON text that the last pass left. */
  readonly cursors: string;
  /** Milliseconds since 1970 by PostgreSQL's clock. */
  readonly nowMs: number;
  /** Milliseconds since a pass last ended well; null if none ever did. */
  readonly idleMs: number | null;
}

export interface LeaseLook {
  readonly holder: string;
  readonly free: boolean;
  readonly idleMs: number | null;
}

/** How a pass ended. */
export interface PassEnd {
  readonly role: SweepRole;
  /** Whether reclaim and reconcile were done; only such a pass counts for those who watch over the sweep. */
  readonly well: boolean;
  /** Time of `run_at` up to which Redis has been checked; null leaves the mark. */
  readonly watermark: string | null;
  /** JSON text. */
  readonly cursors: string;
}

/**
 * What a pass adds to the totals: tasks taken back from dead workers, those of them that went to the dead letters,
 * and entries of Redis put right, by cause.
 */
export interface SweepTotals {
  readonly reclaimed: number;
  readonly buried: number;
  readonly reconciled: Readonly<Record<ReconcileCause, number>>;
  /** Names of the duties that failed. */
  readonly failed: readonly string[];
}

export interface LeaseTimes {
  readonly leaseMs: number;
  readonly overlapMs: number;
  readonly lagMs: number;
}

export interface ReclaimedTask {
  readonly queue: string;
  readonly position: Position;
  /** `reclaim`: it waits again; `fail`: it was lost too often; `abort`: a cancel request stood. */
  readonly verb: 'reclaim' | 'fail' | 'abort';
  /** The attempt that was lost. */
  readonly attempt: number;
  readonly lost: number;
  readonly traceId: string;
}

export interface WaitingTask {
  readonly queue: string;
  readonly position: Position;
  /** Milliseconds until it may start; negative since it could. */
  readonly waitMs: number;
}

export interface DatedTask extends WaitingTask {
  readonly runAt: string;
}

/** A place in the order (run_at, id). */
export interface RangePlace {
  readonly runAt: string;
  readonly id: string;
}

export interface RunningTask {
  readonly queue: string;
  readonly position: Position;
  readonly workerId: string;
}

/** A place in the order (worker, id). */
export interface RunningPlace {
  readonly workerId: string;
  readonly id: string;
}

export interface TaskState extends WaitingTask {
  readonly status: TaskStatus;
  /** Who runs it, while it is PROCESSING. */
  readonly workerId: string | null;
}

export interface Retention {
  /** Of COMPLETED and CANCELLED tasks. */
  readonly retentionMs: number;
  readonly failedRetentionMs: number;
}

/**
 * What the sweep reads and writes. Methods that write take the lease's token
 * and do nothing once the lease is over. All throw `StoreUnavailableError`
 * when PostgreSQL did not answer, in which case their effect may have happened.
 */
export interface SweepStore extends Omit<QueueStore, 'deleteQueue'> {
  /** Null while another holder has the lease. */
  takeLease(holder: string, times: LeaseTimes): Promise<LeaseGrant | null>;
  /** False once the lease is over. */
  renewLease(token: LeaseToken, leaseMs: number): Promise<boolean>;
  /** Frees the lease and keeps what the pass came to; false once the lease is over. */
  endPass(token: LeaseToken, end: PassEnd): Promise<boolean>;
  lookAtLease(): Promise<LeaseLook>;
  /** Adds to the totals that the API exports, whatever has become of the lease. */
  addTotals(totals: SweepTotals): Promise<void>;

  /** Ids of the workers that PROCESSING rows name. */
  processingWorkers(): Promise<string[]>;
  /** Takes tasks of a dead worker back, at most so many. @param error JSON text for the log of their attempts */
  reclaim(token: LeaseToken, workerId: string, lostCap: number, most: number, error: string): Promise<ReclaimedTask[]>;

  queues(): Promise<QueueRow[]>;
  /** Waiting tasks by (run_at, id). */
  waitingRange(after: RangePlace, toRunAt: string, most: number): Promise<DatedTask[]>;
  /** Waiting tasks of some queues in the order in which they run; from the first one if `after` is null. */
  waitingOfQueues(queues: readonly string[], after: Position | null, most: number): Promise<WaitingTask[]>;
  /** PROCESSING tasks by (worker, id), of some queues or of all. */
  processingOfQueues(queues: readonly string[] | null, after: RunningPlace, most: number): Promise<RunningTask[]>;
  /** The tasks that exist, by id. */
  statusesOf(ids: readonly string[]): Promise<Map<string, TaskState>>;

  ensurePartitions(daysAhead: number): Promise<number>;
  pruneKeys(token: LeaseToken, most: number): Promise<number>;
  pruneTasks(
    token: LeaseToken,
    after: string,
    retention: Retention,
    most: number,
  ): Promise<Slice & { readonly deleted: number }>;
  /** Days (YYYY-MM-DD) whose partitions can hold only tasks older than a retention, oldest first. */
  pastDays(retention: Retention): Promise<string[]>;
  surveyDay(
    day: string,
    after: string,
    retention: Retention,
    most: number,
  ): Promise<Slice & { readonly wanted: boolean }>;
  /** False where it has to wait. */
  dropDay(token: LeaseToken, day: string): Promise<boolean>;
}

const TAKE_LEASE = loadSql('take-lease');
const RENEW_LEASE = loadSql('renew-lease');
const END_PASS = loadSql('end-pass');
const ADD_SWEEP_TOTALS = loadSql('add-sweep-totals');
const LOOK_AT_LEASE = loadSql('look-at-lease');
const PROCESSING_WORKERS = loadSql('processing-workers');
const RECLAIM = loadSql('reclaim');
const ALL_QUEUE_SETTINGS = loadSql('all-queue-settings');
const WAITING_RANGE = loadSql('waiting-range');
const WAITING_OF_QUEUES = loadSql('waiting-of-queues');
const PROCESSING_OF_QUEUES = loadSql('processing-of-queues');
const STATUSES_OF = loadSql('statuses-of');
const ENSURE_PARTITIONS = loadSql('ensure-partitions');
const PRUNE_KEYS = loadSql('prune-keys');
const PRUNE_TASKS = loadSql('prune-tasks');
const PAST_DAYS = loadSql('past-days');
const SURVEY_DAY = loadSql('survey-day');
const DROP_DAY = loadSql('drop-day');

export function createSweepStore(database: Pick<Database, 'run' | 'runWithin' | 'transaction'>): SweepStore {
  const { run, runWithin } = database;
  // The duties' statements; those of the lease itself have nobody to make room for.
  const runShort = runWithin(SWEEP_STATEMENT_TIMEOUT_MS);
  return {
    ...createQueueStore(database, SWEEP_STATEMENT_TIMEOUT_MS),

    async takeLease(holder, { leaseMs, overlapMs, lagMs }) {
      const [row] = await run<LeaseRow>(TAKE_LEASE, [holder, leaseMs, overlapMs, lagMs]);
      if (row === undefined) return null;
      const { pass, range_from: rangeFrom, range_to: rangeTo, cursors, now_ms: nowMs, idle_ms: idleMs } = row;
      return { holder, pass, rangeFrom, rangeTo, cursors, nowMs, idleMs };
    },
    async renewLease({ holder, pass }, leaseMs) {
      return (await run(RENEW_LEASE, [holder, pass, leaseMs])).length > 0;
    },
    async endPass({ holder, pass }, { watermark, cursors, role, well }) {
      return (await run(END_PASS, [holder, pass, watermark, cursors, role, well])).length > 0;
    },
    async lookAtLease() {
      const [row] = await run<LookRow>(LOOK_AT_LEASE, []);
      return row === undefined
        ? { holder: '', free: false, idleMs: null }
        : { holder: row.holder, free: row.free, idleMs: row.idle_ms };
    },

    async addTotals({ reclaimed, buried, reconciled, failed }) {
      await run(ADD_SWEEP_TOTALS, [reclaimed, ...RECONCILE_CAUSES.map((cause) => reconciled[cause]), buried, failed]);
    },

    async processingWorkers() {
      const rows = await runShort<{ worker_id: string }>(PROCESSING_WORKERS, []);
      return rows.map((row) => row.worker_id);
    },
    async reclaim({ holder, pass }, workerId, lostCap, most, error) {
      const rows = await runShort<ReclaimRow>(RECLAIM, [holder, pass, workerId, lostCap, most, error]);
      return rows.map(({ queue, verb, attempt, lost, trace_id, ...row }) => ({
        queue,
        position: positionOfRow(row),
        verb,
        attempt,
        lost,
        traceId: trace_id,
      }));
    },

    queues: () => runShort<QueueRow>(ALL_QUEUE_SETTINGS, []),
    async waitingRange({ runAt, id }, toRunAt, most) {
      const rows = await runShort<WaitingRow & { run_at: string }>(WAITING_RANGE, [runAt, id, toRunAt, most]);
      return rows.map((row) => ({ ...waitingTask(row), runAt: row.run_at }));
    },
    async waitingOfQueues(queues, after, most) {
      const place = after === null ? [0, 0, FIRST_ID] : [after.priority, after.placeMs, after.id];
      return (await runShort<WaitingRow>(WAITING_OF_QUEUES, [queues, ...place, most])).map(waitingTask);
    },
    async processingOfQueues(queues, { workerId, id }, most) {
      const rows = await runShort<PositionRow & { queue: string; worker_id: string }>(PROCESSING_OF_QUEUES, [
        queues,
        workerId,
        id,
        most,
      ]);
      return rows.map((row) => ({ queue: row.queue, position: positionOfRow(row), workerId: row.worker_id }));
    },
    async statusesOf(ids) {
      const rows = await runShort<WaitingRow & { status: TaskStatus; worker_id: string | null }>(STATUSES_OF, [ids]);
      return new Map(rows.map((row) => [row.id, { ...waitingTask(row), status: row.status, workerId: row.worker_id }]));
    },

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

interface LeaseRow {
  readonly pass: number;
  readonly range_from: string;
  readonly range_to: string;
  readonly cursors: string;
  readonly now_ms: number;
  readonly idle_ms: number | null;
}

interface LookRow {
  readonly holder: string;
  readonly free: boolean;
  readonly idle_ms: number | null;
}

interface PositionRow {
  readonly id: string;
  readonly priority: Priority;
  readonly place_ms: number;
}

interface ReclaimRow extends PositionRow {
  readonly queue: string;
  readonly verb: ReclaimedTask['verb'];
  readonly attempt: number;
  readonly lost: number;
  readonly trace_id: string;
}

interface WaitingRow extends PositionRow {
  readonly queue: string;
  readonly wait_ms: number;
}

interface SliceRow {
  readonly looked: number;
  readonly last: string | null;
}

function positionOfRow({ id, priority, place_ms }: PositionRow): Position {
  return { id, priority, placeMs: place_ms };
}

function waitingTask(row: WaitingRow): WaitingTask {
  return { queue: row.queue, position: positionOfRow(row), waitMs: row.wait_ms };
}
