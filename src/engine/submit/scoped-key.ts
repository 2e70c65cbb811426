import type { Submission } from '../../core/task.ts';

/**
 * Returns what identifies the idempotency record of a submission, or undefined if it has no key. A key belongs to the
 * client and the queue of its task. None of the three contains the separator, so these texts also have the order of
 * client, queue and key, in which the keys are locked.
 */
export function scopedKey({ task, idempotency }: Submission): string | undefined {
  return idempotency === null ? undefined : `${task.client}\0${task.queue}\0${idempotency.key}`;
}
