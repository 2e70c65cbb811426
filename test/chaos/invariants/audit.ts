import { isForgotten, type Evidence, type Violation } from '../evidence.ts';

/**
 * The audit log has each requeue and each cancel that changed something, and no other: neither is committed without the
 * other, whatever ended a process or an answer.
 */
export function actionsAreAudited({ tasks, deadLetters, audited }: Evidence): Violation[] {
  const requeues = new Map<string, number>();
  for (const { taskId, requeuedAtMs } of deadLetters)
    if (requeuedAtMs !== null) requeues.set(taskId, (requeues.get(taskId) ?? 0) + 1);
  return tasks.flatMap((task) => {
    const requeued = requeues.get(task.id) ?? 0;
    const rows = audited.get(task.id) ?? { cancels: 0, requeues: 0 };
    const messages: string[] = [];
    if (rows.requeues !== requeued)
      messages.push(`it was requeued ${requeued} times, and the audit log has ${rows.requeues} requeues`);
    if (task.cancelRequested && rows.cancels === 0) messages.push('it was cancelled, but the audit log has no cancel');
    // A requeue and a completion that is not kept forget that a cancel was requested.
    if (!task.cancelRequested && rows.cancels > 0 && requeued === 0 && !isForgotten(task))
      messages.push('the audit log has a cancel, but it was not cancelled');
    if (rows.cancels > 1 + requeued) messages.push(`the audit log has ${rows.cancels} cancels`);
    return messages.map((message) => ({ invariant: 'actionsAreAudited', taskId: task.id, message }));
  });
}
