import { describe, expect, it } from 'vitest';
import type { Answer, AttemptRecord, DeadLetterRecord, Evidence, TaskRecord } from './evidence.ts';
import { attempt, broken, evidence, execution, T, task, worker } from './histories.ts';

const forgotten = (changes: Partial<TaskRecord> = {}): TaskRecord =>
  task({ keepCompleted: false, isFinished: false, attempt: 0, finishedAtMs: null, ...changes });

const answer = (op: Answer['op'], taskId: string, changes: Partial<Answer> = {}): Answer => ({
  op,
  refs: [],
  key: null,
  status: 200,
  ids: [taskId],
  taskStatus: 'COMPLETED',
  sentAtMs: T + 200,
  answeredAtMs: T + 205,
  ...changes,
});

describe('a healthy history', () => {
  it('may have forgotten tasks, requeued tasks and pruned tasks', () => {
    const [atOnce, retried, requeued] = [forgotten(), forgotten(), task({ attempt: 2 })];
    const history = evidence({
      rows: [
        [atOnce],
        [retried, attempt({ table: 'attempts', outcome: 'RETRIED' })],
        [
          requeued,
          attempt({ outcome: 'FAILED' }),
          attempt({ attempt: 2, startedAtMs: T + 220, finishedAtMs: T + 230 }),
        ],
      ],
      executions: [
        execution(atOnce),
        execution(retried),
        execution(retried, { attempt: 2, enteredAtMs: T + 2_100, leftAtMs: T + 2_150 }),
      ],
      deadLetters: [letter(requeued, { requeuedAtMs: T + 210 })],
      answers: [answer('get', atOnce.id), answer('cancel', requeued.id, { status: 409, taskStatus: null })],
      oldTasks: [{ id: 'pruned', isDue: true }],
    });
    expect(broken(history)).toEqual([]);
  });
});

describe('the checker finds', () => {
  it('a task that is both unfinished and finished', () => {
    const twice = task({ isUnfinished: true });
    expect(broken(evidence({ rows: [[twice, attempt()]] }))).toEqual(['tasksAreInOneTable']);
  });

  it('a task that is in neither table, although its queue keeps all tasks', () => {
    const gone = forgotten({ keepCompleted: true });
    expect(broken(evidence({ rows: [[gone]], executions: [execution(gone)] }))).toEqual(['tasksAreInOneTable']);
  });

  it('a task that is in neither table, although no handler has completed it', () => {
    const gone = forgotten();
    expect(broken(evidence({ rows: [[gone]] }))).toEqual(['tasksAreInOneTable']);
    const stopped = execution(gone, { leftAtMs: null });
    expect(broken(evidence({ rows: [[gone]], executions: [stopped] }))).toEqual(['tasksAreInOneTable']);
  });

  it('a completed task that is kept, although its queue does not keep such tasks', () => {
    const kept = task({ keepCompleted: false });
    expect(broken(evidence({ rows: [[kept, attempt()]] }))).toEqual(['tasksAreInOneTable']);
  });

  it('a failed task that is forgotten', () => {
    const gone = forgotten({ kind: 'final' });
    const history = evidence({ rows: [[gone]], executions: [execution(gone)], deadLetters: [letter(gone)] });
    expect(broken(history)).toEqual(['tasksEndAsTheyShould', 'deadLettersAgree']);
  });

  it.each(['metadata_pairs', 'unfinished', 'finished', 'attempts'] as const)(
    'a row of %s without a submission',
    (table) => {
      expect(broken(evidence({ strays: [{ table, taskId: 'nobody' }] }))).toEqual(['rowsHaveSubmissions']);
    },
  );

  it('a submission whose pairs are not those of its metadata', () => {
    const plain = task();
    expect(broken(evidence({ rows: [[plain, attempt()]], unpaired: [plain.id] }))).toEqual(['pairsFitMetadata']);
  });

  it('a pair of a pruned task', () => {
    const history = evidence({
      strays: [{ table: 'metadata_pairs', taskId: 'gone' }],
      unpaired: ['gone'],
      oldTasks: [{ id: 'gone', isDue: true }],
    });
    expect(broken(history)).toEqual(['rowsHaveSubmissions', 'prunedTasksLeaveNothing']);
  });

  it('a dead letter of a pruned task', () => {
    expect(broken(evidence({ strays: [{ table: 'dlq', taskId: 'gone' }] }))).toEqual(['prunedTasksLeaveNothing']);
  });

  it('an attempt of a pruned task', () => {
    const history = evidence({
      strays: [{ table: 'attempts', taskId: 'gone' }],
      oldTasks: [{ id: 'gone', isDue: true }],
    });
    expect(broken(history)).toEqual(['rowsHaveSubmissions', 'prunedTasksLeaveNothing']);
  });

  it('a task that was pruned too early, and one that was not pruned', () => {
    const late = task();
    const history = (oldTasks: Evidence['oldTasks']): Evidence => evidence({ rows: [[late, attempt()]], oldTasks });
    expect(broken(history([{ id: late.id, isDue: false }]))).toEqual([]);
    expect(broken(history([{ id: late.id, isDue: true }]))).toEqual(['prunedTasksLeaveNothing']);
    expect(broken(history([{ id: 'gone', isDue: false }]))).toEqual(['prunedTasksLeaveNothing']);
  });

  it('a cancel or a requeue without its row in the audit log, and a row without its action', () => {
    const cancelled = task({ status: 'CANCELLED', cancelRequested: true, kind: 'work', attempt: 0 });
    const audited = (cancels: number, requeues: number): string[] =>
      broken({
        ...evidence({ rows: [[cancelled]] }),
        audited: new Map([[cancelled.id, { cancels, requeues }]]),
      });
    expect(audited(1, 0)).toEqual([]);
    expect(audited(0, 0)).toEqual(['actionsAreAudited']);
    expect(audited(2, 0)).toEqual(['actionsAreAudited']);
    expect(audited(1, 1)).toEqual(['actionsAreAudited']);
    const plain = task();
    const rows: Parameters<typeof evidence>[0] = { rows: [[plain, attempt()]] };
    const cancel = new Map([[plain.id, { cancels: 1, requeues: 0 }]]);
    expect(broken({ ...evidence(rows), audited: cancel })).toEqual(['actionsAreAudited']);
  });

  it('an attempt that is missing, or stored twice', () => {
    const requeued = task({ attempt: 2 });
    const second = attempt({ attempt: 2, startedAtMs: T + 220, finishedAtMs: T + 230 });
    const deadLetters = [letter(requeued, { requeuedAtMs: T + 210 })];
    const failed = attempt({ outcome: 'FAILED', table: 'attempts' });
    const stored = (...rows: AttemptRecord[]): string[] =>
      broken({ ...evidence({ rows: [[requeued]], deadLetters }), attempts: new Map([[requeued.id, rows]]) });
    expect(stored(failed, second)).toEqual([]);
    expect(stored(second)).toContain('attemptsAreStoredOnce');
    expect(stored(failed, { ...second, table: 'attempts' }, second)).toContain('attemptsAreStoredOnce');
  });

  it('an attempt in the wrong table', () => {
    const plain = task();
    const history = (table: AttemptRecord['table']): Evidence => evidence({ rows: [[plain, attempt({ table })]] });
    expect(broken(history('attempts'))).toEqual(['attemptsAreStoredOnce']);
    expect(broken(history('unfinished'))).toEqual(['attemptsAreStoredOnce']);
  });

  it('an attempt of a forgotten task that left no row', () => {
    const gone = forgotten();
    const history = evidence({
      rows: [[gone]],
      executions: [execution(gone), execution(gone, { attempt: 2, enteredAtMs: T + 200, leftAtMs: T + 210 })],
    });
    expect(broken(history)).toEqual(['tasksAreInOneTable', 'everyStartIsLogged']);
  });

  it('counters that do not fit the attempts', () => {
    const rows = [
      attempt({ outcome: 'RETRIED' }),
      attempt({ attempt: 2, startedAtMs: T + 2_200, finishedAtMs: T + 2_300 }),
    ];
    const counted = (failures: number, lost: number): string[] =>
      broken(evidence({ rows: [[task({ attempt: 2, failures, lost }), ...rows]] }));
    expect(counted(1, 0)).toEqual([]);
    expect(counted(0, 0)).toEqual(['countersFit']);
    expect(counted(2, 0)).toEqual(['countersFit']);
    expect(counted(1, 1)).toEqual(['countersFit']);
  });

  it('counters that a requeue did not set back', () => {
    const requeued = task({ attempt: 2, failures: 1 });
    const history = evidence({
      rows: [
        [
          requeued,
          attempt({ outcome: 'FAILED' }),
          attempt({ attempt: 2, startedAtMs: T + 220, finishedAtMs: T + 230 }),
        ],
      ],
      deadLetters: [letter(requeued, { requeuedAtMs: T + 210 })],
    });
    expect(broken(history)).toEqual(['countersFit']);
  });

  it.each(['get', 'cancel', 'requeue'] as const)('a %s that was told that an existing task is unknown', (op) => {
    const known = task();
    const told = answer(op, known.id, { status: 404, taskStatus: null });
    expect(broken(evidence({ rows: [[known, attempt()]], answers: [told] }))).toEqual(['nothingStoredIsUnknown']);
    expect(broken(evidence({ rows: [[known, attempt()]], answers: [{ ...told, ids: ['other'] }] }))).toEqual([]);
  });

  it('a task that was shown as ended and then ended otherwise', () => {
    const failed = task({ kind: 'final', status: 'FAILED', failures: 1 });
    const history = (taskStatus: string): Evidence =>
      evidence({
        rows: [[failed, attempt({ outcome: 'FAILED' })]],
        deadLetters: [letter(failed)],
        answers: [answer('get', failed.id, { taskStatus })],
      });
    expect(broken(history('PROCESSING'))).toEqual([]);
    expect(broken(history('COMPLETED'))).toEqual(['shownEndsHold']);
  });

  it('an outcome that was refused, although it was written', () => {
    const refusal = (of: TaskRecord) => ({
      level: 'warn',
      msg: 'outcome refused, the attempt is no longer the latest',
      atMs: T + 110,
      fields: { task_id: of.id, attempt: 1 },
    });
    const [plain, gone] = [task(), forgotten()];
    const history = (of: TaskRecord): Evidence =>
      evidence({
        rows: [[plain, attempt()], [gone]],
        executions: [execution(gone)],
        processes: [worker({ log: [refusal(of)] })],
      });
    expect(broken(history(plain))).toEqual(['refusalsAreTrue']);
    expect(broken(history(gone))).toEqual(['refusalsAreTrue']);
  });
});

function letter({ id }: TaskRecord, changes: Partial<DeadLetterRecord> = {}): DeadLetterRecord {
  return { taskId: id, attempt: 1, reason: 'final_error', failedAtMs: T + 100, requeuedAtMs: null, ...changes };
}
