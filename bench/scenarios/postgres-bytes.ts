import type { Arena, ContenderKind } from '../contender.ts';
import { entrantOf, type Measurement, type Scenario, type Size } from '../scenario.ts';
import { settleStores, verify } from './drain.ts';
import { untilFinished } from './until-finished.ts';

/** Measures the disk space and the WAL that a task takes in PostgreSQL, from its submission to its end. */
export function postgresBytes({ quick }: Size, kinds: readonly ContenderKind[]): Scenario {
  const tasks = quick ? 10_000 : 100_000;
  return {
    name: 'postgres-bytes',
    title: `PostgreSQL bytes of a finished task, after ${tasks / 1_000}k`,
    goal: 'reported',
    unit: 'bytes/task',
    more: false,
    once: true,
    entrants: kinds.map((kind) => entrantOf(kind, (arena) => measureBytes(kind, arena, tasks))),
  };
}

async function measureBytes(kind: ContenderKind, arena: Arena, tasks: number): Promise<Measurement> {
  const contender = await kind.open(arena);
  try {
    arena.tally.reset(tasks);
    const empty = await relationBytes(arena, contender.databaseUrl);
    const walAtStart = await arena.stores.walBytes();
    await contender.submitMany({ from: 0, count: tasks, sleepMs: 0, batch: 1_000, lanes: 4 });
    const walSubmitted = await arena.stores.walBytes();
    const waiting = await relationBytes(arena, contender.databaseUrl);
    const workers = await contender.startWorkers({ processes: 1, slots: null });
    await arena.tally.reached(tasks);
    await untilFinished(contender);
    const walFinished = await arena.stores.walBytes();
    await workers.stop();
    await verify(contender, arena, tasks);
    await settleStores(contender, arena);
    const finished = await relationBytes(arena, contender.databaseUrl);
    return {
      value: (finished - empty) / tasks,
      details: {
        'while it waits': (waiting - empty) / tasks,
        'WAL to submit': (walSubmitted - walAtStart) / tasks,
        'WAL to execute': (walFinished - walSubmitted) / tasks,
      },
    };
  } finally {
    await contender.close();
  }
}

/** Returns the bytes of all tables, with indexes and free space, but without PostgreSQL's own tables. */
async function relationBytes({ stores }: Arena, databaseUrl: string | null): Promise<number> {
  if (databaseUrl === null) return Number.NaN;
  const [row] = await stores.query<{ bytes: string }>(
    databaseUrl,
    `SELECT sum(pg_total_relation_size(c.oid)) AS bytes
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema')`,
  );
  return Number(row?.bytes);
}
