import { isTerminal } from '../../../src/core/task.ts';
import type { Answer, Evidence, TaskRecord, Violation } from '../evidence.ts';

const TAKES = new Set<Answer['op']>(['submit', 'batch']);

/** Every submission that was answered with 200 exists and ends. */
export function acceptedTasksExistAndEnd({ tasks, answers }: Evidence): Violation[] {
  const byId = new Map(tasks.map((task) => [task.id, task]));
  const violations: Violation[] = [];
  for (const { op, status, ids, refs } of answers) {
    if (!TAKES.has(op) || status !== 200) continue;
    ids.forEach((id, i) => {
      const task = byId.get(id);
      if (task === undefined) violations.push(found(id, `accepted as ${String(refs[i])}, but it does not exist`));
      else if (task.ref !== refs[i])
        violations.push(found(id, `answered for ${String(refs[i])}, but it is ${String(task.ref)}`));
    });
  }
  for (const task of tasks)
    if (!isTerminal(task.status)) violations.push(found(task.id, `is ${task.status} and never ended`));
  return violations;

  function found(taskId: string, message: string): Violation {
    return { invariant: 'acceptedTasksExistAndEnd', taskId, message };
  }
}

/** A submission that was answered with 4xx does not exist. */
export function refusedSubmissionsDoNotExist({ tasks, answers }: Evidence): Violation[] {
  const byRef = groupByRef(tasks);
  // A repetition of the same submission may have been accepted.
  const accepted = new Set(
    answers.filter(({ status }) => status === 200 || isUnknown(status)).flatMap(({ refs }) => refs),
  );
  return answers
    .filter(({ status }) => status !== null && status >= 400 && status < 500)
    .flatMap(({ refs, status }) =>
      refs
        .filter((ref) => byRef.has(ref) && !accepted.has(ref))
        .map((ref) => ({
          invariant: 'refusedSubmissionsDoNotExist',
          taskId: byRef.get(ref)?.[0]?.id ?? null,
          message: `${ref} was answered ${String(status)}, but it exists`,
        })),
    );
}

/** A submission exists only once, however often it was sent with its key and even if answers were lost. */
export function noSubmissionExistsTwice({ tasks, answers }: Evidence): Violation[] {
  const violations: Violation[] = [];
  for (const [ref, copies] of groupByRef(tasks)) {
    if (copies.length > 1)
      violations.push(found(copies[1]?.id ?? null, `${ref} exists ${copies.length} times: ${idsOf(copies)}`));
  }
  const answered = new Map<string, string>();
  for (const { op, key, status, ids } of answers) {
    if (op !== 'submit' || key === null || status !== 200) continue;
    const first = answered.get(key);
    if (first === undefined) answered.set(key, ids[0] ?? '');
    else if (first !== ids[0]) violations.push(found(ids[0] ?? null, `key ${key} was answered ${first} before`));
  }
  return violations;

  function found(taskId: string | null, message: string): Violation {
    return { invariant: 'noSubmissionExistsTwice', taskId, message };
  }
}

/** A batch is accepted completely or not at all, even if its answer was lost. */
export function batchesAreWhole({ tasks, answers }: Evidence): Violation[] {
  const byRef = groupByRef(tasks);
  return answers
    .filter(({ op }) => op === 'batch')
    .flatMap(({ refs, status }) => {
      const there = refs.filter((ref) => byRef.has(ref)).length;
      if (there === 0 || there === refs.length) return [];
      const message = `batch of ${String(refs[0])} (answered ${String(status)}): ${there} of ${refs.length} exist`;
      return [{ invariant: 'batchesAreWhole', taskId: null, message }];
    });
}

/** A task ends with the status that its kind requires, unless it was cancelled or lost too often. */
export function tasksEndAsTheyShould({ tasks, deadLetters }: Evidence): Violation[] {
  const lostOnes = new Set(deadLetters.filter(({ reason }) => reason === 'lost_cap').map(({ taskId }) => taskId));
  return tasks.flatMap((task) => {
    const expected = EXPECTED[task.kind ?? ''];
    if (!isTerminal(task.status) || expected === undefined || expected === task.status) return [];
    if (task.status === 'CANCELLED' && task.cancelRequested) return [];
    if (lostOnes.has(task.id)) return [];
    const message = `a task of kind ${String(task.kind)} ended ${task.status} instead of ${expected}`;
    return [{ invariant: 'tasksEndAsTheyShould', taskId: task.id, message }];
  });
}

/** An accepted cancel is final: the task ends CANCELLED, or COMPLETED if its handler did not stop. */
export function cancelsHold({ tasks, answers, attempts }: Evidence): Violation[] {
  const byId = new Map(tasks.map((task) => [task.id, task]));
  const violations: Violation[] = [];
  for (const { op, status, ids, taskStatus, answeredAtMs } of answers) {
    const task = byId.get(ids[0] ?? '');
    if (op !== 'cancel' || status === null || status >= 300 || task === undefined) continue;
    const waited = taskStatus === 'CANCELLED';
    if (task.status !== 'CANCELLED' && (waited || task.status !== 'COMPLETED'))
      violations.push(found(task, `its cancel was accepted (${String(taskStatus)}), but it ended ${task.status}`));
    if (waited && (attempts.get(task.id) ?? []).some(({ startedAtMs }) => startedAtMs > answeredAtMs))
      violations.push(found(task, 'it was started after it had been cancelled'));
  }
  return violations;

  function found({ id }: TaskRecord, message: string): Violation {
    return { invariant: 'cancelsHold', taskId: id, message };
  }
}

/** The final status of each kind of task. */
export const EXPECTED: Readonly<Record<string, 'COMPLETED' | 'FAILED'>> = {
  work: 'COMPLETED',
  flaky: 'COMPLETED',
  blocks: 'COMPLETED',
  stray: 'COMPLETED',
  deaf: 'COMPLETED',
  hopeless: 'FAILED',
  final: 'FAILED',
  pill: 'FAILED',
  leak: 'FAILED',
  'throws-text': 'FAILED',
  'throws-nul': 'FAILED',
  unserialisable: 'FAILED',
  'ignores-signal': 'FAILED',
};

function groupByRef(tasks: readonly TaskRecord[]): Map<string, TaskRecord[]> {
  const byRef = Map.groupBy(tasks, ({ ref }) => ref);
  byRef.delete(null);
  return byRef as Map<string, TaskRecord[]>;
}

function isUnknown(status: number | null): boolean {
  return status === null || status >= 500;
}

function idsOf(tasks: readonly TaskRecord[]): string {
  return tasks.map(({ id }) => id).join(', ');
}
