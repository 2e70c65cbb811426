import { isTerminal } from '../../../src/core/task.ts';
import { isForgotten, type AttemptRecord, type Evidence, type TaskRecord, type Violation } from '../evidence.ts';

/**
 * Each start has a row, and at rest every row is closed. Only the attempt that completed a task has no row if the task is
 * forgotten.
 */
export function everyStartIsLogged({ tasks, attempts, executions }: Evidence): Violation[] {
  const violations: Violation[] = [];
  const found = (taskId: string, message: string): void => {
    violations.push({ invariant: 'everyStartIsLogged', taskId, message });
  };
  for (const task of tasks) {
    const rows = attempts.get(task.id) ?? [];
    const numbers = rows.map(({ attempt }) => attempt);
    if (numbers.some((number, i) => number !== i + 1) || (!isForgotten(task) && numbers.length !== task.attempt))
      found(task.id, `attempt ${task.attempt} was reached, the log has [${numbers.join(', ')}]`);
    for (const row of rows)
      if (row.outcome === null && isTerminal(task.status)) found(task.id, `attempt ${row.attempt} was never closed`);
  }
  const forgotten = new Set(tasks.filter(isForgotten).map(({ id }) => id));
  for (const { taskId, attempt } of executions) {
    const rows = attempts.get(taskId) ?? [];
    const completedIt = forgotten.has(taskId) && attempt === rows.length + 1;
    if (!completedIt && !rows.some((row) => row.attempt === attempt))
      found(taskId, `a handler ran attempt ${attempt}, which has no start in the log`);
  }
  return violations;
}

/**
 * Each attempt has one outcome, and only the worker that ran it writes it. The last one decides the status, and only a
 * requeue follows a final outcome.
 */
export function attemptsSettleOnce({ tasks, attempts, deadLetters, executions, processes }: Evidence): Violation[] {
  const requeued = new Set(
    deadLetters
      .filter(({ requeuedAtMs }) => requeuedAtMs !== null)
      .map(({ taskId, attempt }) => `${taskId}:${attempt}`),
  );
  const buried = new Set(deadLetters.map(({ taskId, attempt }) => `${taskId}:${attempt}`));
  const workerOf = new Map(processes.map(({ pid, workerId }) => [pid, workerId]));
  const violations: Violation[] = [];
  for (const { taskId, attempt, pid } of executions) {
    const row = (attempts.get(taskId) ?? []).find((candidate) => candidate.attempt === attempt);
    const workerId = workerOf.get(pid) ?? null;
    if (row !== undefined && workerId !== null && row.workerId !== workerId)
      violations.push(found({ id: taskId }, `${workerId} ran attempt ${attempt}, but ${row.workerId} settled it`));
  }
  for (const task of tasks) {
    const rows = attempts.get(task.id) ?? [];
    // The attempt that completed a forgotten task has no row, so none of the rows is the last.
    const before = isForgotten(task) ? rows : rows.slice(0, -1);
    for (const row of before) {
      const token = `${task.id}:${row.attempt}`;
      if (row.outcome === 'COMPLETED' || row.outcome === 'CANCELLED')
        violations.push(
          found(task, `attempt ${row.attempt} ended the task as ${row.outcome}, but it was started again`),
        );
      if (buried.has(token) && !requeued.has(token))
        violations.push(
          found(task, `attempt ${row.attempt} was buried, but the task was started again without a requeue`),
        );
    }
    if (isForgotten(task)) continue;
    const last = rows.at(-1);
    if (last !== undefined && isTerminal(task.status) && !agrees(task, last))
      violations.push(
        found(task, `it is ${task.status}, but its last attempt ${last.attempt} ended ${String(last.outcome)}`),
      );
    if (last === undefined && task.status !== 'CANCELLED' && isTerminal(task.status))
      violations.push(found(task, `it is ${task.status} and was never started`));
  }
  return violations;

  function found({ id }: Pick<TaskRecord, 'id'>, message: string): Violation {
    return { invariant: 'attemptsSettleOnce', taskId: id, message };
  }
}

function agrees(task: TaskRecord, last: AttemptRecord): boolean {
  switch (task.status) {
    case 'COMPLETED':
      return last.outcome === 'COMPLETED';
    case 'FAILED':
      return last.outcome === 'FAILED' || last.outcome === 'LOST';
    default:
      // A task may be cancelled while it waits, after any attempt that did not end it.
      return last.outcome !== 'COMPLETED' && last.outcome !== null;
  }
}

/** Each token is used for only one handler call. */
export function tokensNeverRepeat({ executions }: Evidence): Violation[] {
  const seen = new Set<string>();
  return executions.flatMap(({ taskId, attempt, pid }) => {
    const token = `${taskId}:${attempt}`;
    if (!seen.has(token)) {
      seen.add(token);
      return [];
    }
    const message = `the token ${token} was used again, in process ${pid}`;
    return [{ invariant: 'tokensNeverRepeat', taskId, message }];
  });
}

/**
 * A second start follows only a retry, a release, a requeue or a lost run. A run is lost only if its worker was dead,
 * frozen or cut off for longer than the TTL.
 */
export function secondStartsAreExplained(evidence: Evidence): Violation[] {
  const { tasks, attempts, deadLetters } = evidence;
  const requeued = new Set(
    deadLetters
      .filter(({ requeuedAtMs }) => requeuedAtMs !== null)
      .map(({ taskId, attempt }) => `${taskId}:${attempt}`),
  );
  const wasSilent = silenceOf(evidence);
  const violations: Violation[] = [];
  for (const task of tasks) {
    const { id } = task;
    const rows = attempts.get(id) ?? [];
    rows.forEach((row, i) => {
      const next = rows[i + 1];
      if (next !== undefined || isForgotten(task)) {
        const explained = row.outcome === 'RETRIED' || row.outcome === 'RELEASED' || row.outcome === 'LOST';
        if (!explained && !requeued.has(`${id}:${row.attempt}`))
          violations.push(
            found(id, `attempt ${row.attempt + 1} was started after ${row.attempt} ended ${String(row.outcome)}`),
          );
      }
      if (next !== undefined && row.finishedAtMs !== null && next.startedAtMs < row.finishedAtMs)
        violations.push(found(id, `attempt ${next.attempt} was started before ${row.attempt} ended`));
      if (row.outcome === 'LOST' && !wasSilent(row))
        violations.push(
          found(id, `attempt ${row.attempt} was taken from ${row.workerId}, which was alive and connected`),
        );
    });
  }
  return violations;

  function found(taskId: string, message: string): Violation {
    return { invariant: 'secondStartsAreExplained', taskId, message };
  }
}

/** Returns a check whether the worker of a lost run was dead, frozen or cut off when the run was given up. */
function silenceOf({ processes, bounds }: Evidence): (row: AttemptRecord) => boolean {
  const byWorker = new Map(processes.map((process) => [process.workerId, process]));
  return ({ workerId, finishedAtMs }) => {
    const worker = byWorker.get(workerId);
    if (worker === undefined || finishedAtMs === null) return false;
    const silences = [...worker.cutOff];
    if (worker.exitedAtMs !== null) silences.push({ fromMs: worker.exitedAtMs, toMs: Infinity, fault: 'exit' });
    // The silence begins with the last heartbeat before the fault, so less than a TTL after the fault is enough.
    const least = bounds.ttlMs / 2;
    return silences.some(({ fromMs, toMs }) => finishedAtMs >= fromMs + least && finishedAtMs <= toMs + bounds.slackMs);
  };
}

/** Retries and lost runs stay within their limits. */
export function budgetsAreKept({ tasks, attempts, deadLetters, bounds }: Evidence): Violation[] {
  const requeues = Map.groupBy(
    deadLetters.filter(({ requeuedAtMs }) => requeuedAtMs !== null),
    ({ taskId }) => taskId,
  );
  const violations: Violation[] = [];
  for (const task of tasks) {
    const last = Math.max(0, ...(requeues.get(task.id) ?? []).map(({ attempt }) => attempt));
    const since = (attempts.get(task.id) ?? []).filter(({ attempt }) => attempt > last);
    const retried = since.filter(({ outcome }) => outcome === 'RETRIED').length;
    const lost = since.filter(({ outcome }) => outcome === 'LOST').length;
    if (retried > task.maxRetries)
      violations.push(found(task.id, `it was retried ${retried} times, ${task.maxRetries} are allowed`));
    if (lost > bounds.lostCap)
      violations.push(found(task.id, `it was lost ${lost} times, ${bounds.lostCap} are allowed`));
  }
  return violations;

  function found(taskId: string, message: string): Violation {
    return { invariant: 'budgetsAreKept', taskId, message };
  }
}

/** Every open dead letter belongs to a FAILED task, and every FAILED task has one. */
export function deadLettersAgree({ tasks, attempts, deadLetters, bounds }: Evidence): Violation[] {
  const open = new Map(deadLetters.filter(({ requeuedAtMs }) => requeuedAtMs === null).map((row) => [row.taskId, row]));
  const violations: Violation[] = [];
  const found = (taskId: string, message: string): void => {
    violations.push({ invariant: 'deadLettersAgree', taskId, message });
  };
  for (const task of tasks) {
    const letter = open.get(task.id);
    if ((task.status === 'FAILED') !== (letter !== undefined))
      found(task.id, `it is ${task.status} and has ${letter === undefined ? 'no' : 'an'} open dead letter`);
    if (letter === undefined) continue;
    if (letter.attempt !== task.attempt)
      found(task.id, `its dead letter is of attempt ${letter.attempt}, it is at ${task.attempt}`);
    const lost = (attempts.get(task.id) ?? []).filter(({ outcome }) => outcome === 'LOST').length;
    if (letter.reason === 'lost_cap' && lost < bounds.lostCap)
      found(task.id, `it was buried as lost too often after ${lost} lost runs`);
  }
  return violations;
}

/** The outcome of a resumed zombie is refused, and the refusal is logged. */
export function staleOutcomesAreRefused({ attempts, executions, processes }: Evidence): Violation[] {
  const byPid = new Map(processes.map((process) => [process.pid, process]));
  return executions.flatMap(({ taskId, attempt, pid, leftAtMs }) => {
    const row = (attempts.get(taskId) ?? []).find((candidate) => candidate.attempt === attempt);
    const process = byPid.get(pid);
    if (row?.outcome !== 'LOST' || leftAtMs === null || process === undefined) return [];
    // Only a process that was not killed had time to log the refusal.
    const livedOn = process.endedBy === null || process.endedBy === 'end of the run';
    if (!livedOn || leftAtMs < (row.finishedAtMs ?? Infinity)) return [];
    const logged = process.log.some(
      ({ msg, fields }) =>
        fields['task_id'] === taskId && fields['attempt'] === attempt && msg.startsWith('outcome refused'),
    );
    if (logged) return [];
    const message = `attempt ${attempt} was lost, its zombie in process ${pid} ran to its end, but no refusal was logged`;
    return [{ invariant: 'staleOutcomesAreRefused', taskId, message }];
  });
}
