import { describe, expect, it } from 'vitest';
import type { Evidence, TaskRecord } from './evidence.ts';
import { attempt, broken, evidence, execution, T, task, worker } from './histories.ts';

describe('a healthy history', () => {
  it('breaks no invariant with completed, retried, lost, buried and cancelled tasks', () => {
    const plain = task();
    const retried = task({ attempt: 2, failures: 1 });
    const lost = task({ attempt: 2, lost: 1 });
    const buried = task({ kind: 'final', status: 'FAILED', failures: 1 });
    const cancelled = task({ attempt: 0, status: 'CANCELLED', cancelRequested: true });
    const history = evidence({
      rows: [
        [plain, attempt()],
        [
          retried,
          attempt({ outcome: 'RETRIED' }),
          attempt({ attempt: 2, startedAtMs: T + 2_200, finishedAtMs: T + 2_300 }),
        ],
        [
          lost,
          attempt({ workerId: 'w2', finishedAtMs: T + 11_000, outcome: 'LOST' }),
          attempt({ attempt: 2, startedAtMs: T + 11_010, finishedAtMs: T + 11_020 }),
        ],
        [buried, attempt({ outcome: 'FAILED' })],
        [cancelled],
      ],
      deadLetters: [{ taskId: buried.id, attempt: 1, reason: 'final_error', failedAtMs: T + 100, requeuedAtMs: null }],
      executions: [execution(plain)],
      processes: [
        worker(),
        worker({
          pid: 2,
          workerId: 'w2',
          exitedAtMs: T + 60,
          exit: { code: null, signal: 'SIGKILL' },
          endedBy: 'SIGKILL',
        }),
      ],
    });
    expect(broken(history)).toEqual([]);
  });
});

describe('the checker finds', () => {
  const answer = {
    op: 'submit',
    key: null,
    status: 200,
    taskStatus: 'PENDING',
    sentAtMs: T,
    answeredAtMs: T + 5,
  } as const;

  it('an accepted task that does not exist', () => {
    const history = evidence({ answers: [{ ...answer, refs: ['gone'], ids: ['gone'] }] });
    expect(broken(history)).toEqual(['acceptedTasksExistAndEnd']);
  });

  it('a task that never ends', () => {
    const open = { status: 'PENDING', isUnfinished: true, isFinished: false } as const;
    const stuck = task({ ...open, attempt: 0, finishedAtMs: null });
    expect(broken(evidence({ rows: [[stuck]] }))).toEqual(['acceptedTasksExistAndEnd']);
  });

  it('a task of a refused submission', () => {
    const kept = task();
    const history = evidence({
      rows: [[kept, attempt()]],
      answers: [{ ...answer, refs: [kept.ref ?? ''], ids: [], status: 429 }],
    });
    expect(broken(history)).toEqual(['refusedSubmissionsDoNotExist']);
  });

  it('two tasks of one key', () => {
    const one = task({ ref: 'same' });
    const two = task({ ref: 'same' });
    expect(
      broken(
        evidence({
          rows: [
            [one, attempt()],
            [two, attempt()],
          ],
        }),
      ),
    ).toEqual(['noSubmissionExistsTwice']);
  });

  it('an incomplete batch', () => {
    const half = task();
    const history = evidence({
      rows: [[half, attempt()]],
      answers: [{ ...answer, op: 'batch', refs: [half.ref ?? '', 'other'], ids: [], status: null }],
    });
    expect(broken(history)).toEqual(['batchesAreWhole']);
  });

  it('a zombie’s outcome that ended the task during a later attempt', () => {
    const torn = task({ attempt: 2 });
    const history = evidence({
      rows: [
        [
          torn,
          attempt({ outcome: 'COMPLETED' }),
          attempt({ attempt: 2, startedAtMs: T + 200, finishedAtMs: null, outcome: null }),
        ],
      ],
    });
    expect(broken(history)).toEqual([
      'everyStartIsLogged',
      'attemptsAreStoredOnce',
      'attemptsSettleOnce',
      'secondStartsAreExplained',
    ]);
  });

  it('a zombie’s outcome that was written for the attempt of another worker', () => {
    const torn = task({ attempt: 2, lost: 1 });
    const history = evidence({
      rows: [
        [
          torn,
          attempt({ finishedAtMs: T + 11_000, outcome: 'LOST' }),
          attempt({ attempt: 2, startedAtMs: T + 11_100, finishedAtMs: T + 11_200 }),
        ],
      ],
      executions: [execution(torn, { attempt: 2, pid: 2, enteredAtMs: T + 11_101, leftAtMs: T + 12_000 })],
      processes: [
        worker({ cutOff: [{ fromMs: T + 60, toMs: T + 11_100, fault: 'SIGSTOP' }] }),
        worker({ pid: 2, workerId: 'w2' }),
      ],
    });
    expect(broken(history)).toEqual(['attemptsSettleOnce']);
  });

  it('a token that was used twice', () => {
    const repeated = task();
    const history = evidence({ rows: [[repeated, attempt()]], executions: [execution(repeated), execution(repeated)] });
    expect(broken(history)).toEqual(['tokensNeverRepeat']);
  });

  it('a run that was taken from a healthy worker', () => {
    const robbed = task({ attempt: 2, lost: 1 });
    const history = evidence({
      rows: [
        [robbed, attempt({ outcome: 'LOST' }), attempt({ attempt: 2, startedAtMs: T + 120, finishedAtMs: T + 130 })],
      ],
    });
    expect(broken(history)).toEqual(['secondStartsAreExplained']);
  });

  it('a task that is overtaken for too long', () => {
    const forgotten = task({ queue: 'strict' });
    const [first, second] = [task({ queue: 'strict' }), task({ queue: 'strict' })];
    const strict = worker({ name: 'strict-1' });
    const history = (firstMs: number, secondMs: number): Evidence =>
      evidence({
        processes: [strict],
        rows: [
          [forgotten, attempt({ startedAtMs: T + 12_000, finishedAtMs: T + 12_001 })],
          [first, attempt({ startedAtMs: firstMs, finishedAtMs: firstMs + 1 })],
          [second, attempt({ startedAtMs: secondMs, finishedAtMs: secondMs + 1 })],
        ],
      });
    expect(broken(history(T + 500, T + 1_400))).toEqual([]);
    expect(broken(history(T + 500, T + 3_000))).toEqual(['orderIsKept']);
    // No task started for a long time; the task was overtaken only at the end, and not for too long.
    expect(broken(history(T + 11_300, T + 11_900))).toEqual([]);
  });

  it('no fault if a task is overtaken after an outage of Redis', () => {
    const waiting = task({ queue: 'strict' });
    const later = task({ queue: 'strict' });
    const history = evidence({
      processes: [worker({ name: 'strict-1' })],
      rows: [
        [waiting, attempt({ startedAtMs: T + 12_000, finishedAtMs: T + 12_001 })],
        [later, attempt({ startedAtMs: T + 11_500, finishedAtMs: T + 11_501 })],
      ],
      disturbances: [{ what: 'redis', fault: 'stop', fromMs: T + 500, toMs: T + 11_000 }],
    });
    expect(broken(history)).toEqual([]);
  });

  it('no fault if the API was cut off from PostgreSQL and wrote the row long after it made the id', () => {
    const written = (runAtMs: number): Evidence => {
      const waiting = task({ runAtMs });
      const [first, second] = [task(), task()];
      return evidence({
        rows: [
          [waiting, attempt({ startedAtMs: T + 20_020, finishedAtMs: T + 20_021 })],
          [first, attempt({ startedAtMs: T + 500, finishedAtMs: T + 501 })],
          [second, attempt({ startedAtMs: T + 19_900, finishedAtMs: T + 19_901 })],
        ],
      });
    };
    expect(broken(written(T + 20_000))).not.toContain('orderIsKept');
    expect(broken(written(T))).toContain('orderIsKept');
  });

  it('a queue that stands still', () => {
    const late = task();
    const history = evidence({ rows: [[late, attempt({ startedAtMs: T + 40_000, finishedAtMs: T + 40_001 })]] });
    expect(broken(history)).toEqual(['queuesDoNotStandStill']);
  });

  it('no fault in a queue that stands still because of an outage after its last start', () => {
    const low = task({ priority: 3 });
    const high = task({ priority: 1 });
    const history = evidence({
      rows: [
        [low, attempt({ startedAtMs: T + 43_050, finishedAtMs: T + 43_051 })],
        [high, attempt({ startedAtMs: T + 20_000, finishedAtMs: T + 20_001 })],
      ],
      disturbances: [{ what: 'postgresql', fault: 'freeze', fromMs: T + 20_500, toMs: T + 43_000 }],
    });
    expect(broken(history)).toEqual([]);
  });

  it('a dead worker’s task that is reclaimed late', () => {
    const late = task({ attempt: 2, lost: 1 });
    const history = evidence({
      rows: [
        [
          late,
          attempt({ workerId: 'w2', finishedAtMs: T + 20_000, outcome: 'LOST' }),
          attempt({ attempt: 2, startedAtMs: T + 20_001, finishedAtMs: T + 20_002 }),
        ],
      ],
      processes: [
        worker(),
        worker({
          pid: 2,
          workerId: 'w2',
          exitedAtMs: T + 60,
          exit: { code: null, signal: 'SIGKILL' },
          endedBy: 'SIGKILL',
        }),
      ],
    });
    expect(broken(history)).toEqual(['deadWorkersAreReclaimedInTime']);
  });

  it('more handlers than slots', () => {
    const three = [task(), task(), task()];
    const history = evidence({
      rows: three.map((row) => [row, attempt()] as const),
      executions: three.map((row) => execution(row)),
    });
    expect(broken(history)).toEqual(['slotsAreNotExceeded']);
  });

  it('more retries than allowed, and a missing dead letter', () => {
    const again = task({ kind: 'hopeless', maxRetries: 0, status: 'FAILED', attempt: 2, failures: 2 });
    const history = evidence({
      rows: [
        [
          again,
          attempt({ outcome: 'RETRIED' }),
          attempt({ attempt: 2, startedAtMs: T + 2_100, finishedAtMs: T + 2_101, outcome: 'FAILED' }),
        ],
      ],
    });
    expect(broken(history)).toEqual(['budgetsAreKept', 'deadLettersAgree']);
  });

  it('an innocent task that is buried because of a poison pill', () => {
    const innocent = task({ status: 'FAILED', attempt: 3, lost: 3 });
    const pill = task({ kind: 'pill', status: 'FAILED', attempt: 3, lost: 3 });
    const other = task({ kind: 'pill', status: 'FAILED', attempt: 3, lost: 3 });
    const deaths = [1, 2, 3].map((number) => ({
      attempt: number,
      workerId: `v${number}`,
      startedAtMs: T + number * 20_000,
      finishedAtMs: T + number * 20_000 + 11_000,
      outcome: 'LOST' as const,
    }));
    const history = (killers: readonly TaskRecord[]): Evidence =>
      evidence({
        rows: [
          [innocent, ...deaths.map((death) => attempt(death))],
          [pill, ...deaths.map((death) => attempt(death))],
          [other, ...deaths.map((death) => attempt(death))],
        ],
        deadLetters: [innocent, pill, other].map(({ id }) => ({
          taskId: id,
          attempt: 3,
          reason: 'lost_cap',
          failedAtMs: T,
          requeuedAtMs: null,
        })),
        executions: deaths.map((death, i) =>
          execution(killers[i] as TaskRecord, { attempt: death.attempt, pid: 10 + death.attempt, leftAtMs: null }),
        ),
        processes: deaths.map((death) =>
          worker({
            pid: 10 + death.attempt,
            workerId: death.workerId,
            exitedAtMs: death.startedAtMs + 100,
            exit: { code: 13, signal: null },
          }),
        ),
      });
    expect(broken(history([pill, pill, pill]))).toEqual(['innocentsSurvivePills']);
    // If two pills caused the three deaths, no rule can tell the innocent task from the pills.
    expect(broken(history([pill, other, pill]))).toEqual([]);
  });

  it('an accepted cancel of a task that completed anyway', () => {
    const ran = task();
    const history = evidence({
      rows: [[ran, attempt()]],
      answers: [{ ...answer, op: 'cancel', refs: [], ids: [ran.id], taskStatus: 'CANCELLED', answeredAtMs: T + 10 }],
    });
    expect(broken(history)).toEqual(['cancelsHold']);
  });

  it('an unexpected exit, an error in the log, an outage that is logged too often, and leftovers', () => {
    const line = { level: 'warn', msg: 'store does not answer', atMs: T, fields: {} };
    const history = evidence({
      processes: [
        worker({
          exit: { code: 1, signal: null },
          exitedAtMs: T + 500,
          log: [...Array.from({ length: 30 }, () => line), { ...line, level: 'error', msg: 'claiming failed' }],
        }),
      ],
      rest: { settledAfterMs: null, leftInRedis: ['inflight: 1'], countsThatDisagree: [], connectionsLeft: 2 },
    });
    expect(broken(history)).toEqual([
      'systemComesToRest',
      'processesEndCleanly',
      'errorsNeedAction',
      'outagesAreLoggedOnce',
    ]);
  });

  it('a zombie’s outcome that was refused without a log line', () => {
    const row = task({ attempt: 2, lost: 1 });
    const cut = [{ fromMs: T + 60, toMs: T + 12_000, fault: 'SIGSTOP' }];
    const history = evidence({
      rows: [
        [
          row,
          attempt({ finishedAtMs: T + 11_000, outcome: 'LOST' }),
          attempt({ attempt: 2, workerId: 'w2', startedAtMs: T + 11_100, finishedAtMs: T + 11_200 }),
        ],
      ],
      executions: [execution(row, { leftAtMs: T + 12_100 })],
      processes: [worker({ cutOff: cut }), worker({ pid: 2, workerId: 'w2' })],
    });
    expect(broken(history)).toEqual(['staleOutcomesAreRefused']);
  });
});
