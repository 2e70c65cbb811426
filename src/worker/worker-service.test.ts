import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import { CLAIM_LOOP_STALLED_MS } from '../config/timings.ts';
import { createSlots } from '../engine/attempts/slots.ts';
import type { Database } from '../postgres/database.ts';
import type { ClaimLoop } from './claim-loop.ts';
import type { Executor } from './executor.ts';
import { createPulse, monotonicNowMs } from './pulse.ts';
import { createWorkerService } from './worker-service.ts';

/** A worker whose claim loop last turned `agoMs` ago. */
function bench(agoMs: number) {
  const started = Promise.withResolvers<void>();
  const claimLoop = {
    turnedAtMs: monotonicNowMs() - agoMs,
    start: async () => started.resolve(),
    stop: async () => {},
  } as unknown as ClaimLoop;
  const worker = createWorkerService({
    config: {
      DATABASE_ALLOW_UNSAFE_DURABILITY: false,
      DATABASE_PREPARED_STATEMENTS: true,
      WORKER_QUEUES: ['a'],
      SHUTDOWN_GRACE: 0,
    },
    database: { run: async () => [] } as unknown as Database,
    claimLoop,
    executor: {} as Executor,
    settler: { failed: new Promise<never>(() => {}) },
    slots: createSlots(1),
    pulse: createPulse(),
    onFatal: (error) => {
      throw error;
    },
    log: pino({ level: 'silent' }),
  });
  return { worker, started: started.promise };
}

describe('the health of a worker', () => {
  test('is that of its claim loop', async () => {
    const turning = bench(CLAIM_LOOP_STALLED_MS - 10_000);
    const stalled = bench(CLAIM_LOOP_STALLED_MS);
    for (const { worker, started } of [turning, stalled]) {
      // The claim loop has not started yet. A worker that waits for PostgreSQL must not be restarted.
      expect([worker.isHealthy(), worker.isReady()]).toEqual([true, false]);
      await worker.start();
      await started;
      await expect.poll(() => worker.isReady()).toBe(true);
    }
    expect(turning.worker.isHealthy()).toBe(true);
    expect(stalled.worker.isHealthy()).toBe(false);

    // A worker that ends must not be restarted either, even if its tasks take long.
    await stalled.worker.stop();
    expect([stalled.worker.isHealthy(), stalled.worker.isReady()]).toEqual([true, false]);
    await turning.worker.stop();
  });
});
