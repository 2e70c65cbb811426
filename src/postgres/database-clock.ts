import { CLOCK_MEASURE_INTERVAL_MS } from '../config/timings.ts';
import { systemClock, type Clock } from '../core/clock.ts';
import { createLoop } from '../lifecycle/loop.ts';
import type { Service } from '../lifecycle/service.ts';
import type { Database } from './database.ts';
import { loadSql } from './sql.ts';

const MEASURE_CLOCK = loadSql(import.meta.dirname, 'measure-clock');

/** How far two clocks may come apart: quartz keeps to 100 ppm, adjustment (NTP slewing) adds up to 500 ppm. */
const DRIFT = 0.0006;

/** PostgreSQL's clock, carried on by the monotonic clock between two measurements. */
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
    // An answer that waited for a connection or a stalled server says less than the old offset does.
    if (row === undefined || halfTripMs > errorMs + DRIFT * (before - measuredMs)) return;
    offsetMs = row.now_ms - (before + after) / 2;
    errorMs = halfTripMs;
    measuredMs = after;
  };

  // A failed measurement leaves the old offset, which is good for long; the store's outage is logged elsewhere.
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
