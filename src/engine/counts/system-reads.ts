import { SYSTEM_QUEUE_PREFIX } from '../../core/access/name-patterns.ts';
import { WAITING_STATUSES, type TaskStatus } from '../../core/task.ts';
import type { Reader } from '../../postgres/reads/reader.ts';
import type { VisibleQueues } from '../../postgres/reads/sight.ts';
import type { StoredQueue } from '../order/queue-settings.ts';

/** Number of unfinished tasks, by status. */
export type OpenTaskCounts = Readonly<Record<'PENDING' | 'SCHEDULED' | 'PROCESSING', number>>;

/** The sweeper's heartbeat. Times are text as PostgreSQL writes them, and null before the first pass. */
export interface SweeperRow {
  readonly holder: string;
  readonly last_success_at: string | null;
  readonly reclaimer_success_at: string | null;
  readonly passes_by_reclaimer: number;
  readonly passes_by_worker: number;
  readonly passes_by_api: number;
  readonly tasks_reclaimed: number;
  readonly tasks_buried: number;
  readonly reconciled_watermark: number;
  readonly reconciled_scan: number;
  readonly reconciled_rebuild: number;
  readonly reconciled_claim: number;
  readonly reconciled_stale: number;
  /** JSON: number of failures by name of the duty. */
  readonly duty_failures: string;
}

/**
 * Reads about the system as a whole. None of them looks at finished tasks.
 * Every method throws `StoreUnavailableError` when PostgreSQL does not answer.
 */
export interface SystemReads {
  /** Returns the visible queues, ordered by name. */
  queues(visible: VisibleQueues): Promise<StoredQueue[]>;
  /** Returns all queues, the oldest first. */
  queuesByAge(): Promise<StoredQueue[]>;
  queue(name: string): Promise<StoredQueue | null>;
  /** @param withSystem whether the tasks of the scheduler's own queues are counted too */
  openTasks(withSystem: boolean): Promise<OpenTaskCounts>;
  openDeadLetters(withSystem: boolean): Promise<number>;
  sweeper(): Promise<SweeperRow>;
}

const QUEUE_COLUMNS = ['name', 'paused', 'keep_completed', 'version'] as const;
const SWEEPER_COLUMNS = [
  'holder',
  'last_success_at',
  'reclaimer_success_at',
  'passes_by_reclaimer',
  'passes_by_worker',
  'passes_by_api',
  'tasks_reclaimed',
  'tasks_buried',
  'reconciled_watermark',
  'reconciled_scan',
  'reconciled_rebuild',
  'reconciled_claim',
  'reconciled_stale',
  'duty_failures',
] as const;

/** The queues of the scheduler itself, as a pattern of `LIKE`. */
const SYSTEM_QUEUES = `${SYSTEM_QUEUE_PREFIX}%`;

export function createSystemReads(reader: Reader): SystemReads {
  // Each query fits one partial index. For one query over the statuses of both indexes the planner could use neither.
  const countByStatus = async (
    snapshot: Pick<Reader, 'read'>,
    statuses: readonly TaskStatus[],
    withSystem: boolean,
  ): Promise<Record<string, number>> => {
    const rows = await snapshot.read('count-open-tasks', (db) => {
      const counted = db
        .selectFrom('unfinished')
        .select((eb) => ['status', eb.fn.countAll<number>().as('count')])
        .where('status', 'in', statuses)
        .groupBy('status');
      return (withSystem ? counted : counted.where('queue', 'not like', SYSTEM_QUEUES)).execute();
    });
    return Object.fromEntries(rows.map(({ status, count }) => [status, count]));
  };

  return {
    queues: (visible) =>
      reader.read('list-queues', (db) => {
        const all = db.selectFrom('queues').select(QUEUE_COLUMNS).orderBy('name');
        return (visible === null ? all : all.where('name', '~', visible)).execute();
      }),

    queuesByAge: () =>
      reader.read('queues-by-age', (db) =>
        db.selectFrom('queues').select(QUEUE_COLUMNS).orderBy('created_at').orderBy('name').execute(),
      ),

    async queue(name) {
      const row = await reader.read('find-queue', (db) =>
        db.selectFrom('queues').select(QUEUE_COLUMNS).where('name', '=', name).executeTakeFirst(),
      );
      return row ?? null;
    },

    openTasks: (withSystem) =>
      reader.snapshot(async (snapshot) => {
        const waiting = await countByStatus(snapshot, WAITING_STATUSES, withSystem);
        const processing = await countByStatus(snapshot, ['PROCESSING'], withSystem);
        return { PENDING: 0, SCHEDULED: 0, PROCESSING: 0, ...waiting, ...processing };
      }),

    async openDeadLetters(withSystem) {
      const row = await reader.read('count-open-dead-letters', (db) => {
        const counted = db
          .selectFrom('dlq')
          .select((eb) => eb.fn.countAll<number>().as('count'))
          .where('requeued_at', 'is', null);
        return (withSystem ? counted : counted.where('queue', 'not like', SYSTEM_QUEUES)).executeTakeFirstOrThrow();
      });
      return row.count;
    },

    sweeper: () =>
      reader.read('read-sweeper', (db) =>
        db.selectFrom('sweeper').select(SWEEPER_COLUMNS).where('id', '=', 1).executeTakeFirstOrThrow(),
      ),
  };
}
