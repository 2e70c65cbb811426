import { QueuesExceededError, QueuesMissingError, type QueueBound } from '../../core/errors.ts';
import type { Run } from '../../postgres/database.ts';
import { loadSql } from '../../postgres/sql.ts';

/** Queues that may have to be made, unless `most` exist already, or `createdBy` has made `mostOfCreator` of them. */
export interface NewQueues {
  readonly names: readonly string[];
  readonly most: number;
  /** The client; null if nobody is known. */
  readonly createdBy?: string | null;
  /** 0, the default, is any number. */
  readonly mostOfCreator?: number;
}

const ENSURE_QUEUE = loadSql(import.meta.dirname, 'ensure-queue');

/**
 * In the order of their names, so that two submissions with the same new queues do not wait for each other.
 * @throws QueuesExceededError
 * @throws QueuesMissingError one was made by somebody else and deleted in this moment
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
    // Who waited for another to make the same queue sees it only with a second look, also where that was the last one allowed.
    if (verdict !== 'exists') verdict = await ensure();
    if (verdict === 'again') throw new QueuesMissingError([name]);
    if (verdict !== 'exists') throw new QueuesExceededError(name, verdict);
  }
}

type QueueVerdict = 'exists' | 'again' | QueueBound;
