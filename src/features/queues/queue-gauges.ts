import { GAUGE_INTERVAL_MS, GAUGE_STALE_MS } from '../../config/timings.ts';
import { systemClock, type Clock } from '../../core/clock.ts';
import type { ReadyAges } from '../../engine/counts/ready-ages.ts';
import type { SweeperRow, SystemReads } from '../../engine/counts/system-reads.ts';
import type { QueueRow } from '../../engine/order/queue-settings.ts';
import type { QueueCounts, TaskQueue } from '../../engine/order/task-queue.ts';
import type { WorkerRegistry } from '../../engine/presence/worker-registry.ts';
import { RECONCILE_CAUSES } from '../../engine/sweep/lease-store.ts';
import { createLoop } from '../../lifecycle/loop.ts';
import type { Service } from '../../lifecycle/service.ts';
import type { Logger } from '../../telemetry/logger.ts';
import { labelOfFirst, onScrape, type Metrics } from '../../telemetry/metrics.ts';

export interface QueueGaugesOptions {
  readonly queue: Pick<TaskQueue, 'counts'>;
  readonly registry: Pick<WorkerRegistry, 'serving'>;
  readonly reads: Pick<SystemReads, 'queuesByAge' | 'sweeper'>;
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly readyAges: ReadyAges;
  readonly clock?: Clock;
}

export interface QueueGauges extends Service {
  /** Reads the queues' names and the sweeper's heartbeat from PostgreSQL; returns the number of queues. */
  readRows(): Promise<number>;
  /** Reads the counts of all known queues from Redis, and exports them. */
  readCounts(): Promise<void>;
  /** Asks PostgreSQL how long the next tasks of the last counts have been ready, and exports the ages. */
  readAges(): Promise<void>;
}

type State = 'ready' | 'due' | 'delayed' | 'inflight' | 'paused';
const STATES = ['ready', 'due', 'delayed', 'inflight', 'paused'] as const satisfies readonly State[];

interface Series {
  readonly tasks: Record<State, number>;
  readonly nextIds: string[];
  /** Claimable tasks in queues that no worker serves. */
  unserved: number;
}

/**
 * Exports the counts of each queue in Redis, by which the workers are scaled, and the sweeper's heartbeat. Each kind of
 * gauge has its own loop, so that the counts of a healthy Redis do not become stale while PostgreSQL hangs.
 */
export function createQueueGauges(options: QueueGaugesOptions): QueueGauges {
  const { queue, registry, reads, metrics, log, readyAges, clock = systemClock } = options;
  let rows: readonly QueueRow[] = [];
  let series: ReadonlyMap<string, Series> = new Map();
  let countedMs = Number.NEGATIVE_INFINITY;
  let agedMs = Number.NEGATIVE_INFINITY;

  const readRows = async (): Promise<number> => {
    const [queues, sweeper] = await Promise.all([reads.queuesByAge(), reads.sweeper()]);
    rows = queues;
    if (sweeper.last_success_at !== null)
      metrics.reclaimerLastSuccess.set({ role: 'any' }, seconds(sweeper.last_success_at));
    if (sweeper.reclaimer_success_at !== null) {
      metrics.reclaimerLastSuccess.set({ role: 'reclaimer' }, seconds(sweeper.reclaimer_success_at));
    }
    metrics.reclaimerPasses.set({ role: 'reclaimer' }, sweeper.passes_by_reclaimer);
    metrics.reclaimerPasses.set({ role: 'worker' }, sweeper.passes_by_worker);
    metrics.reclaimerPasses.set({ role: 'api' }, sweeper.passes_by_api);
    showTotals(metrics, sweeper);
    return rows.length;
  };

  const readCounts = async (): Promise<void> => {
    const [serving, read] = await Promise.all([
      registry.serving(),
      Promise.all(rows.map(async (row) => ({ row, counts: await queue.counts(row.name) }))),
    ]);
    const isServed = (name: string): boolean => (serving.get(name) ?? 0) > 0;
    series = seriesByLabel(read, isServed, labelOfFirst(rows.map(({ name }) => name)));
    clearCounts(metrics);
    for (const [label, { tasks, unserved }] of series) {
      for (const state of STATES) metrics.queueTasks.set({ queue: label, state }, tasks[state]);
      metrics.queueUnservedTasks.set({ queue: label }, unserved);
    }
    countedMs = clock.monotonicMs();
  };

  const readAges = async (): Promise<void> => {
    // The ages count as old as the counts that the tasks come from. Otherwise these tasks would be shown as ready
    // forever while Redis is away.
    const ofCountsMs = countedMs;
    const labels = [...series.keys()];
    const ages = await readyAges([...series.values()].map(({ nextIds }) => nextIds));
    metrics.queueOldestReadyAge.reset();
    labels.forEach((label, i) => metrics.queueOldestReadyAge.set({ queue: label }, (ages[i] ?? 0) / 1_000));
    agedMs = ofCountsMs;
  };

  // Stale gauges are dropped at scrape time, because a loop that hangs could not drop its own gauges.
  const isStale = (readMs: number): boolean => clock.monotonicMs() - readMs > GAUGE_STALE_MS;
  const dropStaleCounts = (): void => {
    if (isStale(countedMs)) clearCounts(metrics);
  };
  onScrape(metrics.queueTasks, dropStaleCounts);
  onScrape(metrics.queueUnservedTasks, dropStaleCounts);
  onScrape(metrics.queueOldestReadyAge, () => {
    if (isStale(agedMs)) metrics.queueOldestReadyAge.reset();
  });

  // The connection logs an outage once. Here every turn would log it, so the level is only debug.
  const onError = (error: unknown): void => log.debug({ err: error }, 'could not read gauges');
  const loop = { intervalMs: GAUGE_INTERVAL_MS, jitter: 0.1, onError };
  const rowsLoop = createLoop({ ...loop, name: 'gauges-of-rows', runOnce: readRows });
  const countsLoop = createLoop({ ...loop, name: 'gauges-of-counts', runOnce: readCounts });
  const agesLoop = createLoop({ ...loop, name: 'gauges-of-ages', runOnce: readAges });

  return {
    name: 'queue-gauges',
    readRows,
    readCounts,
    readAges,
    async start() {
      // The first counts need the names of the queues. If PostgreSQL is away, a later turn reads them.
      await readRows().catch(onError);
      await Promise.all([rowsLoop.start(), countsLoop.start(), agesLoop.start()]);
    },
    async stop() {
      await Promise.all([rowsLoop.stop(), countsLoop.stop(), agesLoop.stop()]);
    },
  };
}

/**
 * Groups the counts by label. Queues that share a label are added up; their age is that of the oldest next task of all.
 */
function seriesByLabel(
  read: readonly { row: QueueRow; counts: QueueCounts }[],
  isServed: (queue: string) => boolean,
  labelOf: (queue: string) => string,
): Map<string, Series> {
  const series = new Map<string, Series>();
  for (const { row, counts } of read) {
    const label = labelOf(row.name);
    const sum = series.get(label) ?? {
      tasks: { ready: 0, due: 0, delayed: 0, inflight: 0, paused: 0 },
      nextIds: [],
      unserved: 0,
    };
    series.set(label, sum);
    // Tasks of a paused queue are no demand for workers. The pause may have reached only one of the stores so far.
    if (row.paused || counts.paused) {
      sum.tasks.paused += counts.ready + counts.due;
    } else {
      sum.tasks.ready += counts.ready;
      sum.tasks.due += counts.due;
      if (!isServed(row.name)) sum.unserved += counts.ready + counts.due;
    }
    sum.tasks.delayed += counts.delayed;
    sum.tasks.inflight += counts.inflight;
    sum.nextIds.push(...counts.nextIds);
  }
  return series;
}

/**
 * Sets counters to the totals that PostgreSQL keeps. They are reset first, so that the same count is not added twice.
 */
function showTotals({ tasksReclaimed, tasksBuried, reconciled, dutyFailures }: Metrics, sweeper: SweeperRow): void {
  tasksReclaimed.reset();
  tasksReclaimed.inc(sweeper.tasks_reclaimed);
  tasksBuried.reset();
  tasksBuried.inc(sweeper.tasks_buried);
  reconciled.reset();
  for (const cause of RECONCILE_CAUSES) reconciled.inc({ cause }, sweeper[`reconciled_${cause}`]);
  dutyFailures.reset();
  for (const [duty, failures] of Object.entries(JSON.parse(sweeper.duty_failures) as Record<string, number>))
    dutyFailures.inc({ duty }, failures);
}

function clearCounts(metrics: Metrics): void {
  metrics.queueTasks.reset();
  metrics.queueUnservedTasks.reset();
}

function seconds(timestamp: string): number {
  return Date.parse(timestamp) / 1_000;
}
