/* oxlint-disable vitest/no-standalone-expect -- the commands of a model contain assertions, and fast-check runs them */
import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Outcome } from '../../src/core/outcome.ts';
import { memberOf, positionOf, type Position, type Priority } from '../../src/core/priority.ts';
import type { TaskStatus } from '../../src/core/task.ts';
import type { LeaseGrant } from '../../src/engine/sweep/lease-store.ts';
import { openParts, positionOfTask, type TestParts } from '../harness/parts.ts';
import { createTestStores, type TestStores } from '../harness/stores.ts';
import { createSweepStore, type SweepStore } from '../harness/sweeping.ts';
import { createAdminStore, type AdminStore } from '../harness/task-stores.ts';
import type { Evidence, Execution } from './evidence.ts';
import { readDatabase } from './gather.ts';
import { attemptsSettleOnce, deadLettersAgree, everyStartIsLogged } from './invariants/attempts.ts';
import { actionsAreAudited } from './invariants/audit.ts';
import {
  attemptsAreStoredOnce,
  countersFit,
  pairsFitMetadata,
  prunedTasksLeaveNothing,
  rowsHaveSubmissions,
  tasksAreInOneTable,
} from './invariants/tables.ts';

/**
 * Compares store and queue with a model in memory, for random sequences of verbs, losses of Redis and repeated or stale
 * outcomes. Claims have to return exactly the first tasks of the model, and rows have to agree with the model. Some runs
 * use a queue that does not keep completed tasks.
 */
interface ModelTask {
  readonly position: Position;
  status: TaskStatus;
  attempt: number;
  failures: number;
  lost: number;
  worker: string | null;
  cancelRequested: boolean;
}

interface Model {
  /** Whether the queue keeps completed tasks. */
  readonly keepCompleted: boolean;
  readonly tasks: ModelTask[];
  /** All started attempts, settled or not. A zombie may still report any of them. */
  readonly reported: ModelAttempt[];
}

interface ModelAttempt {
  readonly task: ModelTask;
  readonly attempt: number;
  readonly worker: string;
  /** The verb with which its worker has settled it; null if it has not. */
  settled: Outcome['verb'] | 'abort' | null;
}

interface Real {
  readonly parts: TestParts;
  readonly admin: AdminStore;
  readonly sweep: SweepStore;
  readonly queue: string;
  readonly workers: readonly string[];
}

type Verb = fc.AsyncCommand<Model, Real>;

const LOST_CAP = 3;
const ERROR = { name: 'Error', code: 'model', message: 'as the model wants it' };

const waiting = ({ tasks }: Model): ModelTask[] =>
  tasks
    .filter(({ status }) => status === 'PENDING' || status === 'SCHEDULED')
    .toSorted((a, b) => a.position.priority - b.position.priority || (a.position.id < b.position.id ? -1 : 1));

const running = ({ tasks }: Model): ModelTask[] => tasks.filter(({ status }) => status === 'PROCESSING');

const at = <Item>(items: readonly Item[], index: number): Item => items[index % items.length] as Item;

class Submit implements Verb {
  private readonly priorities: readonly Priority[];
  constructor(priorities: readonly Priority[]) {
    this.priorities = priorities;
  }
  check = (): boolean => true;
  async run(model: Model, { parts, queue }: Real): Promise<void> {
    const tasks = this.priorities.map((priority) =>
      parts.newTask({ queue, priority, metadata: priority === 1 ? null : { queue, priority: String(priority) } }),
    );
    await parts.submit(tasks);
    for (const task of tasks) {
      const zero = { attempt: 0, failures: 0, lost: 0, worker: null, cancelRequested: false };
      model.tasks.push({ position: positionOfTask(task), status: 'PENDING', ...zero });
    }
  }
  toString = (): string => `submit(${this.priorities.join(',')})`;
}

class ClaimAndStart implements Verb {
  private readonly most: number;
  private readonly worker: number;
  constructor(most: number, worker: number) {
    this.most = most;
    this.worker = worker;
  }
  check = (): boolean => true;
  async run(model: Model, { parts, queue, workers }: Real): Promise<void> {
    const worker = at(workers, this.worker);
    const expected = waiting(model).slice(0, this.most);
    const { members } = await parts.queue.claim(queue, worker, this.most);
    expect(members).toEqual(expected.map(({ position }) => memberOf(position)));
    const results = await parts.store.start(
      members.map((member) => (positionOf(member) as Position).id),
      worker,
      LOST_CAP,
      true,
    );
    let suspects = 0;
    for (const [i, task] of expected.entries()) {
      const suspect = task.lost >= LOST_CAP - 1;
      const solo = suspect && suspects++ > 0;
      expect(results[i]?.verdict).toBe(solo ? 'solo' : 'started');
      if (solo) {
        await parts.queue.release(queue, worker, [{ position: task.position, waitMs: 0 }]);
        continue;
      }
      Object.assign(task, { status: 'PROCESSING', attempt: task.attempt + 1, worker });
      expect(results[i]).toMatchObject({ task: { attempt: task.attempt, failures: task.failures, lost: task.lost } });
      model.reported.push({ task, attempt: task.attempt, worker, settled: null });
    }
  }
  toString = (): string => `claim(${this.most}, worker ${this.worker})`;
}

class Settle implements Verb {
  private readonly index: number;
  private readonly verb: Outcome['verb'];
  constructor(index: number, verb: Outcome['verb']) {
    this.index = index;
    this.verb = verb;
  }
  check = (model: Readonly<Model>): boolean => running(model).length > 0;
  async run(model: Model, { parts, queue }: Real): Promise<void> {
    const task = at(running(model), this.index);
    const worker = task.worker as string;
    const settlement = {
      id: task.position.id,
      attempt: task.attempt,
      outcome: outcomeOf(this.verb),
      reason: this.verb === 'fail' ? ('final_error' as const) : null,
    };
    const verb = this.verb !== 'complete' && task.cancelRequested ? 'abort' : this.verb;
    // A worker repeats a settle if the answer was lost. The second one must give the same result and change nothing.
    for (const verdict of ['settled', 'already']) {
      expect(await parts.store.settle(worker, [settlement])).toMatchObject([{ verdict, verb }]);
    }
    if (verb === 'release') await parts.queue.release(queue, worker, [{ position: task.position, waitMs: 0 }]);
    else await parts.queue.settle(queue, worker, [{ position: task.position, verb, waitMs: 0 }]);
    const status = (
      { complete: 'COMPLETED', retry: 'SCHEDULED', fail: 'FAILED', abort: 'CANCELLED', release: 'PENDING' } as const
    )[verb];
    const settled = model.reported.find((reported) => reported.task === task && reported.attempt === task.attempt);
    (settled as ModelAttempt).settled = verb;
    task.failures += verb === 'retry' || verb === 'fail' ? 1 : 0;
    Object.assign(task, { status, worker: null });
  }
  toString = (): string => `settle(${this.index}, ${this.verb})`;
}

/** A zombie settles an attempt that is not running any more, or a worker one that it does not run. */
class SettleStale implements Verb {
  private readonly index: number;
  constructor(index: number) {
    this.index = index;
  }
  check = (model: Readonly<Model>): boolean => stale(model).length > 0;
  async run(model: Model, { parts, queue, workers }: Real): Promise<void> {
    const { task, attempt, worker, settled } = at(stale(model), this.index);
    const settlement = { id: task.position.id, attempt, outcome: outcomeOf('complete'), reason: null };
    const impostor = workers.find((other) => other !== worker) as string;
    const [mine] = await parts.store.settle(worker, [settlement]);
    // The answer to a settle may be lost. Whatever has happened to the task since, its worker must hear the result.
    expect(mine).toMatchObject(settled === null ? { verdict: 'stale' } : { verdict: 'already', verb: settled });
    const [other] = await parts.store.settle(impostor, [settlement]);
    // Nothing says who completed a task that is not kept. Nobody can change it any more.
    const isForgotten = settled === 'complete' && !model.keepCompleted;
    expect(other?.verdict).toBe(isForgotten ? 'already' : 'stale');
    await parts.queue.release(queue, worker, [{ position: task.position, waitMs: null }]);
  }
  toString = (): string => `settleStale(${this.index})`;
}

const stale = ({ reported }: Readonly<Model>): Model['reported'] =>
  reported.filter(
    ({ task, attempt, worker }) => task.status !== 'PROCESSING' || task.attempt !== attempt || task.worker !== worker,
  );

class Cancel implements Verb {
  private readonly index: number;
  constructor(index: number) {
    this.index = index;
  }
  check = ({ tasks }: Readonly<Model>): boolean => tasks.length > 0;
  async run({ tasks }: Model, { parts, admin, queue }: Real): Promise<void> {
    const task = at(tasks, this.index);
    const result = await admin.cancel(task.position.id);
    if (task.status === 'PENDING' || task.status === 'SCHEDULED') {
      expect(result?.verdict).toBe('cancelled');
      await parts.queue.drop(queue, [task.position]);
      task.status = 'CANCELLED';
    } else if (task.status === 'PROCESSING') {
      expect(result?.verdict).toBe('requested');
      task.cancelRequested = true;
    } else expect(['finished', 'already']).toContain(result?.verdict);
  }
  toString = (): string => `cancel(${this.index})`;
}

class Requeue implements Verb {
  private readonly index: number;
  constructor(index: number) {
    this.index = index;
  }
  check = ({ tasks }: Readonly<Model>): boolean => tasks.some(({ status }) => status === 'FAILED');
  async run({ tasks }: Model, { parts, admin, queue }: Real): Promise<void> {
    const task = at(
      tasks.filter(({ status }) => status === 'FAILED'),
      this.index,
    );
    expect(await admin.requeueOne(task.position.id, 'keep')).not.toBeNull();
    await parts.queue.enqueue(queue, [{ position: task.position, waitMs: 0 }]);
    Object.assign(task, { status: 'PENDING', failures: 0, lost: 0 });
  }
  toString = (): string => `requeue(${this.index})`;
}

/** A worker dies, and the sweep reclaims its tasks. */
class Reclaim implements Verb {
  private readonly worker: number;
  constructor(worker: number) {
    this.worker = worker;
  }
  check = (): boolean => true;
  async run(model: Model, { parts, sweep, queue, workers }: Real): Promise<void> {
    const dead = at(workers, this.worker);
    const grant = (await sweep.takeLease('model', { leaseMs: 5_000, overlapMs: 0, lagMs: 0 })) as LeaseGrant;
    const reclaimed = await sweep.reclaim(grant, dead, LOST_CAP, 1_000, JSON.stringify(ERROR));
    const lost = running(model).filter(({ worker }) => worker === dead);
    expect(reclaimed.map(({ position }) => position.id)).toEqual(lost.map(({ position }) => position.id).toSorted());
    for (const task of lost) {
      task.lost++;
      const status = task.cancelRequested ? 'CANCELLED' : task.lost >= LOST_CAP ? 'FAILED' : 'PENDING';
      Object.assign(task, { status, worker: null });
      await parts.queue.release(queue, dead, [{ position: task.position, waitMs: status === 'PENDING' ? 0 : null }]);
    }
  }
  toString = (): string => `reclaim(worker ${this.worker})`;
}

/** Redis loses all data. A rebuild loads the settings again and enters the waiting tasks, in reverse order. */
class LoseRedis implements Verb {
  private readonly twice: boolean;
  constructor(twice: boolean) {
    this.twice = twice;
  }
  check = (): boolean => true;
  async run(model: Model, { parts, queue, workers }: Real): Promise<void> {
    await parts.redis.call((client) => client.del(...Object.values(parts.keys.queue(queue))));
    expect((await parts.queue.claim(queue, at(workers, 0), 1)).state).toBe('unknown');
    await parts.queue.setSettings(queue, { version: 1, paused: false });
    const rows = waiting(model).toReversed();
    // A task that is entered twice must be in the queue only once.
    for (let i = 0; i < (this.twice ? 2 : 1); i++)
      await parts.queue.enqueue(
        queue,
        rows.map(({ position }) => ({ position, waitMs: 0 })),
      );
  }
  toString = (): string => `loseRedis(${this.twice ? 'entered twice' : ''})`;
}

function outcomeOf(verb: Outcome['verb']): Outcome {
  if (verb === 'release') return { verb };
  if (verb === 'complete') return { verb, result: null };
  return { verb, delayMs: 0, error: ERROR, result: null };
}

describe('store and queue', () => {
  let stores: TestStores;
  let parts: TestParts;
  beforeAll(async () => {
    stores = await createTestStores();
    parts = await openParts(stores.env);
  });

  it('behave like their model under random sequences of verbs', async () => {
    const admin = createAdminStore(parts.database);
    const sweep = createSweepStore(parts.database);
    const executions: Execution[] = [];
    const index = fc.nat({ max: 50 });
    const commands = fc.commands<Model, Real, false>(
      [
        fc
          .array(fc.constantFrom<Priority>(1, 2, 3), { minLength: 1, maxLength: 5 })
          .map((priorities) => new Submit(priorities)),
        fc.tuple(fc.integer({ min: 1, max: 6 }), index).map(([most, worker]) => new ClaimAndStart(most, worker)),
        fc
          .tuple(index, fc.constantFrom<Outcome['verb'][]>('complete', 'retry', 'fail', 'release'))
          .map(([i, verb]) => new Settle(i, verb)),
        index.map((i) => new SettleStale(i)),
        index.map((i) => new Cancel(i)),
        index.map((i) => new Requeue(i)),
        index.map((worker) => new Reclaim(worker)),
        fc.boolean().map((twice) => new LoseRedis(twice)),
      ] as never,
      { maxCommands: 60, size: 'max' },
    );
    await fc.assert(
      fc.asyncProperty(commands, fc.boolean(), async (verbs, keepCompleted) => {
        const run = randomUUID().slice(0, 8);
        const queue = `model-${run}`;
        await parts.store.submitAll([], { names: [queue], most: 10_000 });
        const text = 'UPDATE queues SET keep_completed = $2 WHERE name = $1';
        await parts.database.run({ name: 'model-queue', text }, [queue, keepCompleted]);
        await parts.queue.setSettings(queue, { version: 1, paused: false });
        const model: Model = { keepCompleted, tasks: [], reported: [] };
        const real: Real = { parts, admin, sweep, queue, workers: ['a', 'b', 'c'].map((name) => `${name}.${run}`) };
        await fc.asyncModelRun(() => ({ model, real }), verbs);
        await expectRows(model, real);
        for (const { task, attempt } of model.reported)
          executions.push({ taskId: task.position.id, attempt, pid: 0, enteredAtMs: 0, leftAtMs: 0 });
      }),
      { numRuns: 150 },
    );
    await expectTables(stores.databaseUrl, executions);
  }, 120_000);
});

/** Checks that PostgreSQL agrees with the model about every task, and that Redis holds exactly the waiting tasks. */
async function expectRows(model: Model, { parts, sweep, queue }: Real): Promise<void> {
  const states = await sweep.statusesOf(model.tasks.map(({ position }) => position.id));
  for (const task of model.tasks) {
    expect(states.get(task.position.id)).toMatchObject({ status: task.status, workerId: task.worker });
  }
  const { ready, due, delayed } = await parts.queue.counts(queue);
  expect(ready + due + delayed).toBe(waiting(model).length);
}

/** Checks the invariants of what the tables hold of all runs together. */
async function expectTables(databaseUrl: string, executions: readonly Execution[]): Promise<void> {
  const evidence: Evidence = {
    ...(await readDatabase(databaseUrl, 0)),
    bounds: { ttlMs: 0, recoveryMs: 0, overtakingMs: {}, lostCap: LOST_CAP, slackMs: 0 },
    executions,
    answers: [],
    processes: [],
    disturbances: [],
    rest: { settledAfterMs: 0, leftInRedis: [], countsThatDisagree: [], connectionsLeft: 0 },
    oldTasks: [],
  };
  expect(evidence.tasks.length).toBeGreaterThan(1_000);
  const ofTables = [
    tasksAreInOneTable,
    rowsHaveSubmissions,
    pairsFitMetadata,
    prunedTasksLeaveNothing,
    attemptsAreStoredOnce,
    actionsAreAudited,
  ];
  const ofAttempts = [everyStartIsLogged, attemptsSettleOnce, countersFit, deadLettersAgree];
  for (const invariant of [...ofTables, ...ofAttempts]) expect(invariant(evidence)).toEqual([]);
}
