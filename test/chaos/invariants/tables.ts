import { isForgotten, type AttemptRecord, type Evidence, type TaskRecord, type Violation } from '../evidence.ts';

/**
 * A task is in exactly one of `unfinished` and `finished`. Only a task that was completed, and whose queue does not keep
 * completed tasks, is in neither of them.
 */
export function tasksAreInOneTable({ tasks, attempts, executions }: Evidence): Violation[] {
  const completed = new Map<string, number>();
  for (const { taskId, attempt, leftAtMs } of executions)
    if (leftAtMs !== null) completed.set(taskId, Math.max(attempt, completed.get(taskId) ?? 0));
  return tasks.flatMap((task) => {
    const found = (message: string): Violation[] => [{ invariant: 'tasksAreInOneTable', taskId: task.id, message }];
    if (task.isUnfinished && task.isFinished) return found('it is both unfinished and finished');
    if (task.isFinished && task.status === 'COMPLETED' && !task.keepCompleted)
      return found('it was completed and is kept, although its queue does not keep such tasks');
    if (!isForgotten(task)) return [];
    if (task.keepCompleted) return found('it is neither unfinished nor finished, although its queue keeps all tasks');
    // The attempt that completed it is the one after the last that left a row.
    const last = (attempts.get(task.id) ?? []).length + 1;
    if (completed.get(task.id) === last) return [];
    return found(`it is neither unfinished nor finished, but no handler has ended its attempt ${last}`);
  });
}

/** Every row of `metadata_pairs`, `unfinished`, `finished` and `attempts` belongs to a submission. */
export function rowsHaveSubmissions({ strays }: Evidence): Violation[] {
  return strays
    .filter(({ table }) => table !== 'dlq')
    .map(({ table, taskId }) => ({
      invariant: 'rowsHaveSubmissions',
      taskId,
      message: `it has a row in ${table}, but no submission`,
    }));
}

/** Every submission has the pairs of its metadata, and no others. */
export function pairsFitMetadata({ tasks, unpaired }: Evidence): Violation[] {
  const ids = new Set(tasks.map(({ id }) => id));
  return unpaired
    .filter((id) => ids.has(id))
    .map((taskId) => ({ invariant: 'pairsFitMetadata', taskId, message: 'its pairs are not those of its metadata' }));
}

/** Nothing of a pruned task remains, and only tasks whose retention is over are pruned. */
export function prunedTasksLeaveNothing({ tasks, strays, oldTasks }: Evidence): Violation[] {
  const ids = new Set(tasks.map(({ id }) => id));
  const old = new Set(oldTasks.map(({ id }) => id));
  const found = (taskId: string, message: string): Violation => ({
    invariant: 'prunedTasksLeaveNothing',
    taskId,
    message,
  });
  return [
    ...oldTasks.flatMap(({ id, isDue }) => {
      if (isDue && ids.has(id)) return [found(id, 'its retention is over, but it was not pruned')];
      return !isDue && !ids.has(id) ? [found(id, 'it was pruned, although its retention is not over')] : [];
    }),
    ...strays
      .filter(({ table, taskId }) => table === 'dlq' || old.has(taskId))
      .map(({ table, taskId }) => found(taskId, `it was pruned, but its row in ${table} remains`)),
  ];
}

/**
 * Every attempt that was started is stored once, and the numbers have no gaps: the attempt that runs is in `unfinished`,
 * the one that ended its task is in `finished`, and all others are in `attempts`.
 */
export function attemptsAreStoredOnce({ tasks, attempts, deadLetters }: Evidence): Violation[] {
  const requeued = new Set(
    deadLetters
      .filter(({ requeuedAtMs }) => requeuedAtMs !== null)
      .map(({ taskId, attempt }) => `${taskId}:${attempt}`),
  );
  return tasks.flatMap((task) => {
    const rows = attempts.get(task.id) ?? [];
    const messages = rows.flatMap((row) => misplaced(task, row, requeued.has(`${task.id}:${row.attempt}`)));
    const stored = rows.map(({ attempt, table }) => `${attempt} in ${table}`).join(', ');
    const isWhole = rows.every(({ attempt }, i) => attempt === i + 1);
    if (!isWhole || (!isForgotten(task) && rows.length !== task.attempt))
      messages.push(`attempt ${task.attempt} was reached, stored are [${stored}]`);
    if (task.isFinished && task.status !== 'CANCELLED' && rows.at(-1)?.table !== 'finished')
      messages.push(`it is ${task.status}, but the attempt that ended it is not in finished: [${stored}]`);
    return messages.map((message) => ({ invariant: 'attemptsAreStoredOnce', taskId: task.id, message }));
  });
}

/** Returns why an attempt must not be in its table; nothing if it may. */
function misplaced(task: TaskRecord, { attempt, table, outcome }: AttemptRecord, wasRequeued: boolean): string[] {
  if (table !== 'attempts')
    return attempt === task.attempt ? [] : [`attempt ${attempt} is in ${table}, but the last is ${task.attempt}`];
  const goesOn = outcome === 'RETRIED' || outcome === 'RELEASED' || outcome === 'LOST';
  return goesOn || wasRequeued ? [] : [`attempt ${attempt} ended ${String(outcome)}, but it is in attempts`];
}

/** The counters of failures and lost runs are those of the attempts since the last requeue. */
export function countersFit({ tasks, attempts, deadLetters }: Evidence): Violation[] {
  const requeuedAt = new Map<string, number>();
  for (const { taskId, attempt, requeuedAtMs } of deadLetters)
    if (requeuedAtMs !== null) requeuedAt.set(taskId, Math.max(attempt, requeuedAt.get(taskId) ?? 0));
  return tasks.flatMap((task) => {
    if (isForgotten(task)) return [];
    const last = requeuedAt.get(task.id) ?? 0;
    const since = (attempts.get(task.id) ?? []).filter(({ attempt }) => attempt > last);
    const failures = since.filter(({ outcome }) => outcome === 'RETRIED' || outcome === 'FAILED').length;
    const lost = since.filter(({ outcome }) => outcome === 'LOST').length;
    if (failures === task.failures && lost === task.lost) return [];
    const message = `it failed ${failures} times and was lost ${lost} times, its row counts ${task.failures} and ${task.lost}`;
    return [{ invariant: 'countersFit', taskId: task.id, message }];
  });
}
