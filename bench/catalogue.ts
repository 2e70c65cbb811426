import type { ContenderKind } from './contender.ts';
import { bullmq } from './contenders/bullmq.ts';
import { graphileWorker } from './contenders/graphile-worker.ts';
import { pgBoss } from './contenders/pg-boss.ts';
import { river } from './contenders/river.ts';
import { scheduler } from './contenders/scheduler.ts';
import { IN_ALL } from './meter.ts';
import { LONG_TEXT } from './note.ts';
import type { Floor, Scenario, Size } from './scenario.ts';
import { bulk } from './scenarios/bulk.ts';
import { burst } from './scenarios/burst.ts';
import { claimCost } from './scenarios/claim-cost.ts';
import { coldStart } from './scenarios/cold-start.ts';
import { drain } from './scenarios/drain.ts';
import { idle } from './scenarios/idle.ts';
import { latencyUnderLoad } from './scenarios/latency.ts';
import { memory } from './scenarios/memory.ts';
import { pickUp } from './scenarios/pick-up.ts';
import { postgresBytes } from './scenarios/postgres-bytes.ts';
import { reclaimerPass } from './scenarios/reclaimer-pass.ts';
import { redisBytes } from './scenarios/redis-bytes.ts';
import { rows } from './scenarios/rows.ts';
import { submitService } from './scenarios/submit-service.ts';
import { sustained } from './scenarios/sustained.ts';

export const PEERS = [bullmq, pgBoss, graphileWorker(false), graphileWorker(true), river];

/** Contenders that need no Go build and take little time. */
const QUICK = new Set([
  'scheduler',
  'scheduler (keep_completed off)',
  'BullMQ',
  'pg-boss',
  'graphile-worker (batched)',
]);

function inTime(kind: ContenderKind): ContenderKind {
  return QUICK.has(kind.name) ? kind : { ...kind, unavailable: () => 'the quick run leaves it out to save time' };
}

/**
 * What a drain may cost at most, compared with pg-boss, which keeps finished tasks too. The bytes of WAL are about four
 * fifths of what is measured. The CPU times are a tenth below what is measured at a load average of 8 on two CPUs; on a
 * quiet machine, a task has to cost two fifths more before that is seen.
 */
function floorsOf({ wal, postgres, all }: { wal: number; postgres: number; all: number }): Floor[] {
  return [
    { than: 'pg-boss', detail: 'WAL bytes', ratio: wal },
    { than: 'pg-boss', detail: 'PostgreSQL CPU µs', ratio: postgres },
    { than: 'pg-boss', detail: IN_ALL, ratio: all },
  ];
}

/** What a worker process may cost in a drain at most, compared with BullMQ: a tenth below the ratio on a busy machine. */
const WORKER_FLOOR: Floor = { than: 'BullMQ', detail: 'worker CPU µs', ratio: 1.75 };

/** Returns all scenarios, in the order in which they run. */
export function scenarios(size: Size): Scenario[] {
  const all = [scheduler(), ...PEERS].map((kind) => (size.quick ? inTime(kind) : kind));
  const withFleeting = all.toSpliced(1, 0, scheduler(false));
  const among = (...names: string[]): ContenderKind[] => all.filter(({ name }) => names.includes(name));
  const backlog = size.quick ? 10_000 : 100_000;
  const thousands = `${backlog / 1_000}k`;
  const list = [
    // This scenario comes first: after others, PostgreSQL would still be vacuuming what they left behind.
    idle(size),
    submitService(size, [bullmq, pgBoss, graphileWorker(false)]),
    bulk(size, among('scheduler', 'BullMQ', 'pg-boss', 'graphile-worker (batched)', 'River')),
    drain(
      {
        name: 'drain',
        title: `Drain of ${thousands} no-op tasks, one worker process`,
        goal: '≥ 1.5 × BullMQ, ≥ 1.25 × River, ≥ 1 × pg-boss, ≥ 0.7 × graphile-worker (batched); with keep_completed off ≥ 1 × it',
        floors: [...floorsOf({ wal: 1.5, postgres: 1, all: 0.75 }), WORKER_FLOOR],
      },
      { tasks: backlog, processes: 1, slots: null, sleepMs: 0 },
      withFleeting,
    ),
    drain(
      {
        name: 'drain-1k',
        title: `Drain of ${thousands} no-op tasks with payloads of 1 KB, one worker process`,
        goal: '≥ 1.25 × pg-boss, ≥ 1.5 × River',
        floors: floorsOf({ wal: 4.1, postgres: 1.1, all: 0.8 }),
      },
      { tasks: backlog, processes: 1, slots: null, sleepMs: 0, text: LONG_TEXT },
      withFleeting,
    ),
    drain(
      {
        name: 'drain-4',
        title: `Drain of ${thousands} no-op tasks, four worker processes`,
        goal: '≥ each peer but graphile-worker (batched)',
      },
      { tasks: backlog, processes: 4, slots: null, sleepMs: 0 },
      all,
    ),
    drain(
      {
        name: 'drain-10ms',
        title: `Drain of ${backlog / 2_000}k tasks of 10 ms, one worker process, 200 slots`,
        goal: '≥ each peer but graphile-worker (batched)',
      },
      { tasks: backlog / 2, processes: 1, slots: 200, sleepMs: 10 },
      all,
    ),
    pickUp(size, among('scheduler', 'BullMQ', 'pg-boss', 'graphile-worker', 'River')),
    latencyUnderLoad(
      size,
      among('scheduler', 'BullMQ', 'pg-boss', ...(size.quick ? [] : ['graphile-worker', 'graphile-worker (batched)'])),
    ),
    burst(size, among('scheduler', 'pg-boss', ...(size.quick ? [] : ['BullMQ', 'graphile-worker (batched)']))),
    sustained(size),
    rows(size),
    claimCost(size),
    redisBytes(size, among('scheduler', 'BullMQ')),
    postgresBytes(size, among('scheduler', 'pg-boss', 'graphile-worker (batched)', 'River')),
    reclaimerPass(size),
    coldStart(size),
    memory(size),
  ];
  // The quick run skips the drains with four processes and with sleeping handlers to save time.
  return size.quick ? list.filter(({ name }) => name !== 'drain-4' && name !== 'drain-10ms') : list;
}
