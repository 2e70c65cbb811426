import type { Arena, ContenderKind } from '../contender.ts';
import { IN_ALL, startMeter } from '../meter.ts';
import { nowUs } from '../note.ts';
import { entrantOf, type Measurement, type Scenario, type Size } from '../scenario.ts';

const BATCH = 1_000;
const LANES = 4;

/** Measures bulk submission: to the scheduler over HTTP, to the peers through their own clients. */
export function bulk({ quick }: Size, kinds: readonly ContenderKind[]): Scenario {
  const tasks = quick ? 20_000 : 100_000;
  return {
    name: 'bulk',
    title: `Bulk submission of ${tasks / 1_000}k, ${BATCH.toLocaleString('en')} a call, ${LANES} calls at a time`,
    goal: '≥ 1.2 × BullMQ, ≥ 0.7 × River',
    unit: 'tasks/s',
    more: true,
    floors: [{ than: 'pg-boss', detail: IN_ALL, ratio: 0.3 }],
    entrants: kinds.map((kind) => entrantOf(kind, (arena) => measureBulk(kind, arena, tasks))),
  };
}

async function measureBulk(kind: ContenderKind, arena: Arena, tasks: number): Promise<Measurement> {
  const contender = await kind.open(arena);
  try {
    const warmUp = tasks / 5;
    await contender.submitMany({ from: 0, count: warmUp, sleepMs: 0, batch: BATCH, lanes: LANES });
    // Without a process of its own, a peer's client runs in the bench.
    const meter = await startMeter(arena, { submitter: [contender.submitterPid ?? process.pid] });
    const startUs = nowUs();
    await contender.submitMany({ from: warmUp, count: tasks, sleepMs: 0, batch: BATCH, lanes: LANES });
    const seconds = (nowUs() - startUs) / 1e6;
    const costs = await meter.read(tasks);
    const held = await contender.unfinished();
    if (held !== warmUp + tasks) throw new Error(`${warmUp + tasks} submitted, ${held} stored`);
    return { value: tasks / seconds, details: costs };
  } finally {
    await contender.close();
  }
}
