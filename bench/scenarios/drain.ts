import type { Arena, Contender, ContenderKind } from '../contender.ts';
import { startMeter } from '../meter.ts';
import { nowUs } from '../note.ts';
import { residentMb } from '../processes.ts';
import { entrantOf, type Measurement, type Scenario } from '../scenario.ts';
import { median } from '../statistics.ts';
import { untilFinished } from './until-finished.ts';

export interface DrainShape {
  readonly tasks: number;
  readonly processes: number;
  /** Null takes the number that suits the contender best for no-ops. */
  readonly slots: number | null;
  readonly sleepMs: number;
  /** The text in the payload of each task; `TEXT` if missing. */
  readonly text?: string;
}

const SUBMIT = { batch: 1_000, lanes: 4 };

export function drain(
  base: Omit<Scenario, 'entrants' | 'unit' | 'more'>,
  shape: DrainShape,
  kinds: readonly ContenderKind[],
): Scenario {
  return {
    ...base,
    unit: 'tasks/s',
    more: true,
    entrants: kinds.map((kind) => entrantOf(kind, (arena) => measureDrain(kind, arena, shape))),
  };
}

/**
 * Measures how fast workers finish a backlog. The first tenth is warm-up; the clock stops when the store has no
 * unfinished task.
 */
async function measureDrain(kind: ContenderKind, arena: Arena, shape: DrainShape): Promise<Measurement> {
  const { tally } = arena;
  const { tasks, sleepMs, text } = shape;
  const load = { from: 0, count: tasks, sleepMs, ...SUBMIT };
  const contender = await kind.open(arena);
  try {
    tally.reset(tasks);
    await contender.submitMany(text === undefined ? load : { ...load, text });
    if ((await contender.unfinished()) !== tasks) throw new Error(`${kind.name} does not hold what was submitted`);
    await settleStores(contender, arena);

    const workers = await contender.startWorkers(shape);
    await tally.reached(tasks / 10);
    const meter = await startMeter(arena, { worker: workers.pids });
    const already = tally.total;
    await tally.reached(tasks);
    await untilFinished(contender, 2);
    const endUs = nowUs();
    const costs = await meter.read(tasks - already);

    const residents = workers.pids.map(residentMb);
    const startUs = tally.startsUs.toSorted()[tasks / 10] as number;
    const seconds = (endUs - startUs) / 1e6;
    await workers.stop();
    await verify(contender, arena, tasks);
    return { value: (tasks * 0.9) / seconds, details: { ...costs, 'worker resident MB': median(residents) } };
  } finally {
    await contender.close();
  }
}

/** Gives every contender the same start: current statistics, and no checkpoint in the middle of the run. */
export async function settleStores({ databaseUrl }: Contender, { stores }: Arena): Promise<void> {
  if (databaseUrl === null) return;
  await stores.query(databaseUrl, 'VACUUM (ANALYZE)');
  await stores.query(databaseUrl, 'CHECKPOINT');
}

/**
 * @param recorded number of finished tasks in the store
 * @throws unless every task of the tally was executed exactly once and is recorded as finished
 */
export async function verify(contender: Contender, { tally }: Arena, recorded: number): Promise<void> {
  const { never, repeated } = tally.wrong();
  if (never > 0 || repeated > 0) throw new Error(`${never} tasks never executed, ${repeated} more than once`);
  const finished = await contender.finished();
  if (finished !== null && finished !== recorded)
    throw new Error(`${finished} of ${recorded} are recorded as finished`);
}
