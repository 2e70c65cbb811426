import { isForgotten, type Evidence, type Violation } from '../evidence.ts';

/** No request is told that a task is unknown if the task exists. */
export function nothingStoredIsUnknown({ tasks, answers }: Evidence): Violation[] {
  const ids = new Set(tasks.map(({ id }) => id));
  return answers.flatMap(({ op, status, ids: [taskId] }) => {
    if (status !== 404 || taskId === undefined || !ids.has(taskId)) return [];
    return [{ invariant: 'nothingStoredIsUnknown', taskId, message: `a ${op} was answered 404, but it exists` }];
  });
}

/** A task that was shown as ended stays as it is, unless it was requeued. */
export function shownEndsHold({ tasks, answers, deadLetters }: Evidence): Violation[] {
  const byId = new Map(tasks.map((task) => [task.id, task]));
  const requeued = new Set(deadLetters.filter(({ requeuedAtMs }) => requeuedAtMs !== null).map(({ taskId }) => taskId));
  return answers.flatMap(({ op, status, ids: [taskId = ''], taskStatus }) => {
    const task = byId.get(taskId);
    if (op !== 'get' || status !== 200 || task === undefined || taskStatus === task.status) return [];
    const isFinal =
      taskStatus === 'COMPLETED' || taskStatus === 'CANCELLED' || (taskStatus === 'FAILED' && !requeued.has(taskId));
    if (!isFinal) return [];
    return [{ invariant: 'shownEndsHold', taskId, message: `it was shown as ${taskStatus}, but it is ${task.status}` }];
  });
}

/** A worker's outcome is refused only if it was not written: its attempt was taken from the worker before. */
export function refusalsAreTrue({ tasks, attempts, processes }: Evidence): Violation[] {
  const byId = new Map(tasks.map((task) => [task.id, task]));
  return processes.flatMap(({ workerId, log }) =>
    log.flatMap(({ msg, fields }) => {
      if (!msg.startsWith('outcome refused, the attempt')) return [];
      const task = byId.get(String(fields['task_id']));
      if (task === undefined) return [];
      const row = (attempts.get(task.id) ?? []).find(({ attempt }) => attempt === fields['attempt']);
      // The attempt that completed a task which is not kept left no row.
      const wasWritten =
        row === undefined
          ? isForgotten(task)
          : row.workerId === workerId && row.outcome !== null && row.outcome !== 'LOST';
      if (!wasWritten) return [];
      const message = `the outcome of attempt ${String(fields['attempt'])} was written, but ${String(workerId)} was told that it is refused`;
      return [{ invariant: 'refusalsAreTrue', taskId: task.id, message }];
    }),
  );
}
