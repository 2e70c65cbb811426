import { CLOCK_MEASURE_INTERVAL_MS } from '../config/timings.ts';
import { systemClock, type Clock } from '../core/clock.ts';
import { createLoop } from '../lifecycle/loop.ts';
import type { Service } from '../lifecycle/service.ts';
import type { Database } from './database.ts';
import { loadSql } from './sql.ts';

const MEASURE_CLOCK = loadSql(import.meta.dirname, 'measure-clock');

/** How fast two clocks may drift apart: quartz is accurate to 100 ppm, and NTP slewing adds up to 500 ppm. */
const DRIFT = 0.0006;

/** Estimates PostgreSQL's time. Between two measurements, the monotonic clock advances the estimate. */
export interface DatabaseClock extends Service {
  /** Milliseconds since 1970 by PostgreSQL's clock, to within half a round trip. @throws before the first measurement */
  nowMs(): number;
  /** Measures the offset once. */
  runOnce(): Promise<void>;
}

export function createDatabaseClock(database: Database, clock: Clock = systemClock): DatabaseClock {
  let offsetMs: number | null = null;
  let errorMs = Number.POSITIVE_INFINITY;
  let measuredMs = 0;

  const runOnce = async (): Promise<void> => {
    const before = clock.monotonicMs();
    const [row] = await database.run<{ now_ms: number }>(MEASURE_CLOCK, []);
    const after = clock.monotonicMs();
    const halfTripMs = (after - before) / 2;
    // An answer that waited for a connection or a stalled server is less accurate than the old offset.
    if (row === undefined || halfTripMs > errorMs + DRIFT * (before - measuredMs)) return;
    offsetMs = row.now_ms - (before + after) / 2;
    errorMs = halfTripMs;
    measuredMs = after;
  };

  // A failed measurement keeps the old offset, which stays accurate for long. The store's outage is logged elsewhere.
  const loop = createLoop({
    name: 'database-clock',
    intervalMs: CLOCK_MEASURE_INTERVAL_MS,
    jitter: 0.1,
    runOnce,
    onError: () => {},
  });

  return {
    name: 'database-clock',
    runOnce,
    async start() {
      await runOnce();
      await loop.start();
    },
    stop: () => loop.stop(),
    nowMs() {
      if (offsetMs === null) throw new Error('the clock of PostgreSQL has not been measured yet');
      return offsetMs + clock.monotonicMs();
    },
  };
}
