import { QueuesExceededError, QueuesMissingError, type QueueBound } from '../../core/errors.ts';
import type { Run } from '../../postgres/database.ts';
import { loadSql } from '../../postgres/sql.ts';

/** Queues to create if they do not exist, within the limits on their number. */
export interface NewQueues {
  readonly names: readonly string[];
  /** Most queues that may exist. */
  readonly most: number;
  /** The client; null if it is unknown. */
  readonly createdBy?: string | null;
  /** Most queues that one client may have created; 0, the default, means no limit. */
  readonly mostOfCreator?: number;
}

const ENSURE_QUEUE = loadSql(import.meta.dirname, 'ensure-queue');

/**
 * Creates queues in the order of their names, so that two submissions with the same new queues cannot deadlock.
 * @throws QueuesExceededError
 * @throws QueuesMissingError another transaction created and deleted a queue at this moment
 */
export async function ensureQueues(
  run: Run,
  { names, most, createdBy = null, mostOfCreator = 0 }: NewQueues,
): Promise<void> {
  for (const name of names.toSorted()) {
    const ensure = async () => {
      const [row] = await run<{ verdict: QueueVerdict }>(ENSURE_QUEUE, [name, most, createdBy, mostOfCreator]);
      return row?.verdict ?? 'again';
    };
    let verdict = await ensure();
    // If the statement waited for another transaction that created the same queue, only a second call sees that queue.
    // This also holds if the queue was the last one that the limits allow.
    if (verdict !== 'exists') verdict = await ensure();
    if (verdict === 'again') throw new QueuesMissingError([name]);
    if (verdict !== 'exists') throw new QueuesExceededError(name, verdict);
  }
}

type QueueVerdict = 'exists' | 'again' | QueueBound;
