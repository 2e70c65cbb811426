import { setTimeout as delay } from 'node:timers/promises';
import type { Arena, ContenderKind } from '../contender.ts';
import { nowUs } from '../note.ts';
import { entrantOf, type Measurement, type Scenario, type Size } from '../scenario.ts';
import { quantile } from '../statistics.ts';

const WARM_UP = 50;

/** Measures how long an idle worker takes to enter the handler after the submitter has its answer. */
export function pickUp({ quick }: Size, kinds: readonly ContenderKind[]): Scenario {
  const tasks = WARM_UP + (quick ? 100 : 300);
  return {
    name: 'pick-up',
    title: 'Idle pick-up: answer received → handler entered',
    goal: 'p50 ≤ 1.5 ms, p99 ≤ 4 ms',
    unit: 'ms (p50)',
    more: false,
    entrants: kinds.map((kind) => entrantOf(kind, (arena) => measurePickUp(kind, arena, tasks))),
  };
}

async function measurePickUp(kind: ContenderKind, arena: Arena, tasks: number): Promise<Measurement> {
  const contender = await kind.open(arena);
  try {
    arena.tally.reset(tasks);
    const workers = await contender.startWorkers({ processes: 1, slots: 20 });
    const answeredUs: number[] = [];
    for (let n = 0; n < tasks; n++) {
      await contender.submitOne(n);
      answeredUs.push(nowUs());
      // Submit one task after the other, at uneven moments, so that the worker is idle before the next one.
      await arena.tally.reached(n + 1);
      await delay(5 + Math.random() * 20);
    }
    await workers.stop();
    // A handler may start before the submitter has read its answer.
    const waitsMs = answeredUs
      .map((us, n) => Math.max(0, (arena.tally.startsUs[n] as number) - us) / 1_000)
      .slice(WARM_UP);
    return { value: quantile(waitsMs, 0.5), details: { 'p99 ms': quantile(waitsMs, 0.99) } };
  } finally {
    await contender.close();
  }
}
