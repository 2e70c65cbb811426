import type { Arena, ContenderKind } from '../contender.ts';
import { entrantOf, type Measurement, type Scenario, type Size } from '../scenario.ts';

/** Measures the memory that a waiting task takes in Redis. */
export function redisBytes({ quick }: Size, kinds: readonly ContenderKind[]): Scenario {
  const tasks = quick ? 20_000 : 1_000_000;
  return {
    name: 'redis-bytes',
    title: `Redis memory of a waiting task, ${tasks.toLocaleString('en')} waiting`,
    goal: '≤ 142 bytes',
    unit: 'bytes/task',
    more: false,
    once: true,
    entrants: kinds.map((kind) => entrantOf(kind, (arena) => measureBytes(kind, arena, tasks))),
  };
}

async function measureBytes(kind: ContenderKind, arena: Arena, tasks: number): Promise<Measurement> {
  const { redis } = arena.stores;
  const usedBytes = async (): Promise<number> =>
    Number(/used_memory_dataset:(\d+)/.exec(await redis.info('memory'))?.[1]);
  const contender = await kind.open(arena);
  try {
    const before = await usedBytes();
    await contender.submitMany({ from: 0, count: tasks, sleepMs: 0, batch: 1_000, lanes: 4 });
    return { value: ((await usedBytes()) - before) / tasks };
  } finally {
    await contender.close();
  }
}
