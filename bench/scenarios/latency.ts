import type { Arena, Contender, ContenderKind, Service, Workers } from '../contender.ts';
import { paced, saturate, type HttpLoad } from '../load.ts';
import { IN_ALL, startMeter } from '../meter.ts';
import { entrantOf, type Measurement, type Scenario, type Size } from '../scenario.ts';
import { quantile } from '../statistics.ts';
import { verify } from './drain.ts';
import { untilFinished } from './until-finished.ts';

const CONNECTIONS = 64;

/** More than any contender executes while its capacity is measured. */
const TALLIED_MAX = 2_000_000;

/**
 * Measures the time from a request, at the moment at which it is due, to the call of the handler, while each contender
 * has half of the load that it sustains.
 */
export function latencyUnderLoad({ quick }: Size, kinds: readonly ContenderKind[]): Scenario {
  const seconds = quick ? { capacity: 1, paced: 2 } : { capacity: 4, paced: 8 };
  return {
    name: 'latency-under-load',
    title: 'From request to handler, one submission a request, at half of the load that each sustains',
    goal: 'p50 and p99 no worse than a peer’s',
    unit: 'ms (p50)',
    more: false,
    floors: [{ than: 'pg-boss', detail: IN_ALL, ratio: 0.8 }],
    entrants: kinds.map((kind) => entrantOf(kind, (arena) => measureLatency(kind, arena, seconds))),
  };
}

async function measureLatency(
  kind: ContenderKind,
  arena: Arena,
  seconds: { readonly capacity: number; readonly paced: number },
): Promise<Measurement> {
  const contender = await kind.open(arena);
  try {
    const service = await contender.startService();
    const workers = await contender.startWorkers({ processes: 1, slots: null });
    const load = { url: service.url, path: service.path, connections: CONNECTIONS, body: service.body };
    // The first second warms up.
    const first = await sustained(contender, arena, load, 1);
    const { perSecond, requests } = await sustained(contender, arena, load, seconds.capacity);
    const { waitsMs, costs } = await half(contender, arena, { load, service, workers }, perSecond / 2, seconds.paced);
    await workers.stop();
    await verify(contender, arena, first.requests + requests + waitsMs.length);
    return {
      value: quantile(waitsMs, 0.5),
      details: { 'p99 ms': quantile(waitsMs, 0.99), 'tasks/s': perSecond / 2, ...costs },
    };
  } finally {
    await contender.close();
  }
}

/** Submits as fast as the service answers, and measures how many tasks per second are both submitted and executed. */
async function sustained(
  contender: Contender,
  { tally }: Arena,
  load: HttpLoad,
  seconds: number,
): Promise<{ perSecond: number; requests: number }> {
  tally.reset(TALLIED_MAX);
  const startMs = performance.now();
  const { requests } = await saturate(load, seconds);
  await tally.reached(requests);
  const perSecond = (requests * 1_000) / (performance.now() - startMs);
  await untilFinished(contender);
  return { perSecond, requests };
}

async function half(
  contender: Contender,
  arena: Arena,
  { load, service, workers }: { readonly load: HttpLoad; readonly service: Service; readonly workers: Workers },
  perSecond: number,
  seconds: number,
): Promise<{ waitsMs: number[]; costs: Readonly<Record<string, number>> }> {
  const { tally } = arena;
  const tasks = Math.floor(perSecond * seconds);
  tally.reset(tasks);
  const meter = await startMeter(arena, { server: [service.pid], worker: workers.pids });
  const { dueUs } = await paced(load, perSecond, seconds);
  await tally.reached(tasks);
  await untilFinished(contender);
  const costs = await meter.read(tasks);
  return { waitsMs: dueUs.map((us, n) => ((tally.startsUs[n] as number) - us) / 1_000), costs };
}
