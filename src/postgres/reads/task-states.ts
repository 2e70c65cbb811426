import type { Kysely } from '@mikro-orm/postgresql';
import type { Tables } from './reader.ts';

const lookedAt = (db: Kysely<Tables>) =>
  db
    .selectFrom('submissions')
    .select('id')
    .select((eb) => [eb.lit<number>(1).as('nth'), eb.lit<boolean>(true).as('fits')]);

/** A select of tasks, not run yet, with columns that a search needs (see `Looked`). */
export type LookedSelect = ReturnType<typeof lookedAt>;

/** Selects one id, whether or not it is that of a task. PostgreSQL then plans for the partitions of its day only. */
export function oneId(db: Kysely<Tables>, id: string): LookedSelect {
  return db.selectNoFrom((eb) => [
    eb.cast<string>(eb.val(id), 'uuid').as('id'),
    eb.lit(1).as('nth'),
    eb.lit(true).as('fits'),
  ]);
}

/**
 * Joins tasks with what was asked (`s`) and how they stand: `u` if they are unfinished, `f` if they are finished. LATERAL
 * with a limit makes PostgreSQL find each row by its primary key, in the order of the ids; otherwise the planner could
 * join whole days. Each join names the one before it, so that they are made in this order: a condition on `s` is checked
 * before the others are looked up, and nothing is looked up in `finished` for an unfinished task.
 */
export function withStates(db: Kysely<Tables>, looked: LookedSelect) {
  return db
    .selectFrom(looked.as('ids'))
    .innerJoinLateral(
      (eb) => eb.selectFrom('submissions').selectAll().whereRef('submissions.id', '=', 'ids.id').limit(1).as('s'),
      (join) => join.onTrue(),
    )
    .leftJoinLateral(
      (eb) =>
        eb
          .selectFrom('unfinished')
          .selectAll()
          .whereRef('unfinished.id', '=', 'ids.id')
          .where('s.id', 'is not', null)
          .limit(1)
          .as('u'),
      (join) => join.onTrue(),
    )
    .leftJoinLateral(
      (eb) =>
        eb
          .selectFrom('finished')
          .selectAll()
          .whereRef('finished.id', '=', 'ids.id')
          .where('s.id', 'is not', null)
          .where('u.id', 'is', null)
          .limit(1)
          .as('f'),
      (join) => join.onTrue(),
    )
    .select((eb) => eb.fn.coalesce('u.status', 'f.status', eb.val('COMPLETED' as const)).as('status'));
}

/** Columns that a task has in `unfinished` while it is open, and in `finished` afterwards. */
const STATE_COLUMNS = ['attempt', 'failures', 'lost', 'started_at', 'cancel_requested_at', 'progress'] as const;
const ASKED_COLUMNS = [
  'ids.id',
  's.queue',
  's.action',
  's.priority',
  's.group',
  's.execution_time',
  's.max_retries',
  's.backoff',
  's.timeout_ms',
  's.metadata',
  's.trace_id',
] as const;

/**
 * Selects a task's columns, except its payload. A task that is neither unfinished nor finished is COMPLETED, and its
 * queue does not keep such tasks: `kept` is false, and its counters and times are null.
 */
export function tasksWithStates(db: Kysely<Tables>, looked: LookedSelect) {
  return withStates(db, looked)
    .select(ASKED_COLUMNS)
    .select((eb) => [
      eb.or([eb('u.id', 'is not', null), eb('f.id', 'is not', null)]).as('kept'),
      eb.fn.coalesce('u.run_at', 'f.run_at', 's.run_at').as('run_at'),
      'u.worker_id',
      'f.finished_at',
      ...STATE_COLUMNS.map((column) => eb.fn.coalesce(`u.${column}`, `f.${column}`).as(column)),
    ]);
}
