import { SNAPSHOT_LOOK_MS, SNAPSHOT_SAMPLE_MS, SNAPSHOT_STALE_MS } from '../../config/timings.ts';
import { systemClock, type Clock } from '../../core/clock.ts';
import { createLoop } from '../../lifecycle/loop.ts';
import type { Service } from '../../lifecycle/service.ts';
import type { Database } from '../../postgres/database.ts';
import { loadSql } from '../../postgres/sql.ts';
import type { Logger } from '../../telemetry/logger.ts';
import { onScrape, type Metrics } from '../../telemetry/metrics.ts';

export interface SnapshotGaugeOptions {
  readonly database: Pick<Database, 'run'>;
  readonly metrics: Pick<Metrics, 'oldestSnapshotAge'>;
  readonly log: Logger;
  readonly clock?: Clock;
}

export interface SnapshotGauge extends Service {
  /** Reads and exports the age once. */
  readAge(): Promise<void>;
}

/** What the next transaction id was at a time. */
interface Sample {
  readonly atMs: number;
  readonly next: number;
}

const OLDEST_SNAPSHOT = loadSql(import.meta.dirname, 'oldest-snapshot');

/** Samples of a day. An older snapshot is shown as a day old. */
const SAMPLES_MAX = 1_440;

/**
 * Exports the age of the oldest snapshot that keeps VACUUM from removing dead rows: then the small table of unfinished
 * tasks grows with every task. PostgreSQL shows when a transaction began only to its own role, but it shows all roles at
 * which transaction id its snapshot begins. So the gauge remembers which id was the next one at each minute. A process
 * knows nothing of the time before its start.
 */
export function createSnapshotGauge({
  database,
  metrics,
  log,
  clock = systemClock,
}: SnapshotGaugeOptions): SnapshotGauge {
  const gauge = metrics.oldestSnapshotAge;
  let samples: Sample[] = [];
  let readMs = Number.NEGATIVE_INFINITY;

  const readAge = async (): Promise<void> => {
    const [row] = await database.run<{ next: number; behind: number }>(OLDEST_SNAPSHOT, []);
    if (row === undefined) return;
    const { next, behind } = row;
    const atMs = clock.monotonicMs();
    const last = samples.at(-1);
    // After a failover or a restore, the ids may begin anew.
    if (last !== undefined && next < last.next) samples = [];
    const since = samples.findLast((sample) => sample.next <= next - behind) ?? samples[0];
    gauge.set(behind === 0 || since === undefined ? 0 : (atMs - since.atMs) / 1_000);
    readMs = atMs;
    if (samples.length > 0 && atMs - (samples.at(-1)?.atMs ?? 0) < SNAPSHOT_SAMPLE_MS) return;
    samples.push({ atMs, next });
    if (samples.length > SAMPLES_MAX) samples.shift();
  };

  gauge.remove();
  onScrape(gauge, () => {
    if (clock.monotonicMs() - readMs > SNAPSHOT_STALE_MS) gauge.remove();
  });

  // The connection logs an outage once. Here every turn would log it, so the level is only debug.
  const onError = (error: unknown): void => log.debug({ err: error }, 'could not read the oldest snapshot');
  const loop = createLoop({
    name: 'oldest-snapshot',
    intervalMs: SNAPSHOT_LOOK_MS,
    jitter: 0.1,
    runOnce: readAge,
    onError,
  });
  return { name: 'snapshot-gauge', readAge, start: loop.start, stop: loop.stop };
}
