import { beforeEach, describe, expect, it } from 'vitest';
import { GAUGE_STALE_MS } from '../../config/timings.ts';
import { StoreUnavailableError } from '../../core/errors.ts';
import type { QueueCounts } from '../../engine/order/task-queue.ts';
import { createLogger } from '../../telemetry/logger.ts';
import { createMetrics, type Metrics } from '../../telemetry/metrics.ts';
import { createQueueGauges, type QueueGauges } from './queue-gauges.ts';

const NOW_MS = 1_800_000_000_000;
const EMPTY: QueueCounts = { ready: 0, due: 0, delayed: 0, inflight: 0, paused: false, nextIds: [] };

let metrics: Metrics;
let gauges: QueueGauges;
let monotonicMs: number;
let queues: Map<string, { paused: boolean; counts: QueueCounts }>;
let redisAway: boolean;
let serving: Map<string, number>;
let databaseAway: boolean;

beforeEach(() => {
  metrics = createMetrics();
  monotonicMs = 0;
  queues = new Map();
  redisAway = false;
  serving = new Map();
  databaseAway = false;
  gauges = createQueueGauges({
    queue: {
      async counts(name) {
        if (redisAway) throw new StoreUnavailableError('redis', new Error('gone'));
        return queues.get(name)?.counts ?? EMPTY;
      },
    },
    registry: { serving: async () => serving },
    reads: {
      queuesByAge: async () =>
        [...queues].map(([name, { paused }]) => ({ name, paused, keep_completed: true, version: 1 })),
      sweeper: async () => ({
        holder: 'w1',
        last_success_at: '2027-01-15 08:00:02.5+00',
        reclaimer_success_at: null,
        passes_by_reclaimer: 3,
        passes_by_worker: 4,
        passes_by_api: 5,
        tasks_reclaimed: 9,
        tasks_buried: 2,
        reconciled_watermark: 1,
        reconciled_scan: 2,
        reconciled_rebuild: 3,
        reconciled_claim: 4,
        reconciled_stale: 5,
        duty_failures: '{"keys":2}',
      }),
    },
    metrics,
    log: createLogger('silent', {}),
    async readyAges(idsOfQueues) {
      if (databaseAway) throw new StoreUnavailableError('postgresql', new Error('gone'));
      return idsOfQueues.map((ids) => (ids.length === 0 ? null : Math.max(...ids.map(Number))));
    },
    clock: { nowMs: () => NOW_MS, monotonicMs: () => monotonicMs },
  });
});

async function read(): Promise<void> {
  await gauges.readRows();
  await gauges.readCounts();
  await gauges.readAges();
}

/** Returns the value of each series of a metric, by the values of its labels. */
async function seriesOf(name: string): Promise<Record<string, number>> {
  await metrics.registry.metrics();
  const metric = await metrics.registry.getSingleMetric(name)?.get();
  return Object.fromEntries(
    (metric?.values ?? []).map(({ labels, value }) => [Object.values(labels).join(' '), value]),
  );
}

describe('queue gauges', () => {
  it('export every state of a queue, including empty ones', async () => {
    queues.set('a', { paused: false, counts: { ...EMPTY, ready: 3, due: 2, inflight: 1 } });
    await read();
    expect(await seriesOf('scheduler_queue_tasks')).toEqual({
      'a ready': 3,
      'a due': 2,
      'a delayed': 0,
      'a inflight': 1,
      'a paused': 0,
    });
  });

  it.each([
    ['its row', true, false],
    ['Redis', false, true],
  ])('do not count waiting tasks of a queue that is paused in %s as ready', async (_where, rowPaused, redisPaused) => {
    queues.set('a', {
      paused: rowPaused,
      counts: { ...EMPTY, ready: 3, due: 2, delayed: 7, inflight: 1, paused: redisPaused },
    });
    await read();
    expect(await seriesOf('scheduler_queue_tasks')).toEqual({
      'a ready': 0,
      'a due': 0,
      'a delayed': 7,
      'a inflight': 1,
      'a paused': 5,
    });
  });

  it('count tasks that wait in queues without workers, but not those in paused queues', async () => {
    const waiting = { ...EMPTY, ready: 3, due: 2, delayed: 7 };
    for (const name of ['served', 'unserved', 'paused'])
      queues.set(name, { paused: name === 'paused', counts: waiting });
    serving.set('served', 1);
    await read();
    expect(await seriesOf('scheduler_queue_unserved_tasks')).toEqual({ served: 0, unserved: 5, paused: 0 });
  });

  it('show how long the oldest of the next tasks has been ready', async () => {
    queues.set('a', { paused: false, counts: { ...EMPTY, ready: 2, nextIds: ['1500', '9000'] } });
    queues.set('b', { paused: false, counts: EMPTY });
    await read();
    expect(await seriesOf('scheduler_queue_oldest_ready_age_seconds')).toEqual({ a: 9, b: 0 });
  });

  it('show counts, but after a while no age, while PostgreSQL is away', async () => {
    queues.set('a', { paused: false, counts: { ...EMPTY, ready: 1, nextIds: ['1500'] } });
    await read();
    databaseAway = true;
    await gauges.readCounts();
    await expect(gauges.readAges()).rejects.toThrow('postgresql is unavailable');
    expect(await seriesOf('scheduler_queue_oldest_ready_age_seconds')).toEqual({ a: 1.5 });
    monotonicMs = GAUGE_STALE_MS + 1;
    await gauges.readCounts();
    expect(await seriesOf('scheduler_queue_oldest_ready_age_seconds')).toEqual({});
    expect((await seriesOf('scheduler_queue_tasks'))['a ready']).toBe(1);
  });

  it('do not show an age longer than the counts that it belongs to', async () => {
    queues.set('a', { paused: false, counts: { ...EMPTY, ready: 1, nextIds: ['1500'] } });
    await read();
    redisAway = true;
    monotonicMs = GAUGE_STALE_MS + 1;
    await gauges.readAges();
    expect(await seriesOf('scheduler_queue_oldest_ready_age_seconds')).toEqual({});
  });

  it('add up all queues after the first hundred under one label', async () => {
    // The labels must not depend on what this process has seen. Replicas have to agree on them, or a queue would be
    // counted both under its name and among the others.
    for (let i = 0; i < 100; i++) metrics.queueLabel(`submitted-${i}`);
    for (let i = 0; i < 103; i++)
      queues.set(`q${i}`, { paused: i === 102, counts: { ...EMPTY, ready: 2, nextIds: [String(i)] } });
    await read();
    const tasks = await seriesOf('scheduler_queue_tasks');
    expect(tasks['q99 ready']).toBe(2);
    expect(tasks['other ready']).toBe(4);
    expect(tasks['other paused']).toBe(2);
    expect((await seriesOf('scheduler_queue_oldest_ready_age_seconds'))['other']).toBe(0.102);
  });

  it('forget a deleted queue', async () => {
    queues.set('a', { paused: false, counts: EMPTY });
    await read();
    queues = new Map([['b', { paused: false, counts: EMPTY }]]);
    await read();
    expect(Object.keys(await seriesOf('scheduler_queue_oldest_ready_age_seconds'))).toEqual(['b']);
  });

  it('vanish when Redis has not been read for too long, and come back', async () => {
    queues.set('a', { paused: false, counts: { ...EMPTY, ready: 3 } });
    await read();
    redisAway = true;
    await expect(gauges.readCounts()).rejects.toThrow('redis is unavailable');
    monotonicMs = GAUGE_STALE_MS;
    expect((await seriesOf('scheduler_queue_tasks'))['a ready']).toBe(3);
    monotonicMs = GAUGE_STALE_MS + 1;
    expect(await seriesOf('scheduler_queue_tasks')).toEqual({});
    expect(await seriesOf('scheduler_queue_oldest_ready_age_seconds')).toEqual({});
    redisAway = false;
    await gauges.readCounts();
    expect((await seriesOf('scheduler_queue_tasks'))['a ready']).toBe(3);
  });

  it('show no total before it is known, because `increase` would count all of it as new', async () => {
    expect(await seriesOf('scheduler_tasks_reclaimed_total')).toEqual({});
    expect(await seriesOf('scheduler_tasks_buried_total')).toEqual({});
    expect(await seriesOf('scheduler_reconciled_total')).toEqual({});
    expect(await seriesOf('scheduler_sweep_duty_failures_total')).toEqual({});
  });

  it("export the sweeper's heartbeat, and omit a time that is not known yet", async () => {
    await gauges.readRows();
    expect(await seriesOf('scheduler_reclaimer_last_success_timestamp_seconds')).toEqual({
      any: Date.UTC(2027, 0, 15, 8, 0, 2, 500) / 1_000,
    });
    expect(await seriesOf('scheduler_reclaimer_passes')).toEqual({ reclaimer: 3, worker: 4, api: 5 });
    // PostgreSQL keeps the totals, so reading them again must not add them up.
    await read();
    expect(await seriesOf('scheduler_tasks_reclaimed_total')).toEqual({ '': 9 });
    expect(await seriesOf('scheduler_tasks_buried_total')).toEqual({ '': 2 });
    expect(await seriesOf('scheduler_reconciled_total')).toEqual({
      watermark: 1,
      scan: 2,
      rebuild: 3,
      claim: 4,
      stale: 5,
    });
    expect(await seriesOf('scheduler_sweep_duty_failures_total')).toEqual({ keys: 2 });
  });

  it('can be stopped before they are started', async () => {
    await gauges.stop();
    expect(gauges.name).toBe('queue-gauges');
  });
});
