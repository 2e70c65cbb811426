import type { TaskQueue } from '../../order/task-queue.ts';
import type { DutyContext } from '../duty.ts';
import type { SweepContext } from '../sweep-context.ts';
import type { ReconcileQueue } from './reconcile-queue.ts';
import type { ReconcileStore } from './reconcile-store.ts';

/** Both sides of the comparison between PostgreSQL and Redis. */
export interface ReconcileParts {
  readonly store: ReconcileStore;
  readonly members: ReconcileQueue;
  readonly queue: Pick<TaskQueue, 'enqueue' | 'setSettings'>;
}

export interface ReconcileContext extends SweepContext, ReconcileParts {}

/** The arguments of a duty that compares. */
export interface ReconcileDuty extends DutyContext, ReconcileParts {}
