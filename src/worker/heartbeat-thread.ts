import { writeSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { BEAT_RETRY_MS, REDIS_COMMAND_TIMEOUT_MS } from '../config/timings.ts';
import { StoreUnavailableError } from '../core/errors.ts';
import { createKeys } from '../queue/keys.ts';
import { createRedis } from '../queue/redis.ts';
import { createWorkerRegistry } from '../queue/worker-registry.ts';
import { createLogger } from '../telemetry/logger.ts';
import { BEATEN, LEAVE, type HeartbeatThreadData } from './heartbeat.ts';
import { createPulse, monotonicNowMs } from './pulse.ts';
import { createWatchdog } from './watchdog.ts';

const { config, description, pulse: buffer, overrunMs, stalledMs } = workerData as HeartbeatThreadData;

const pulse = createPulse(buffer);
const log = createLogger(config.LOG_LEVEL, { process: 'worker', thread: 'heartbeat', worker_id: description.id });
// The main thread speaks of outages; two voices would say everything twice.
const redis = createRedis(config, { failed: () => {}, answered: () => {}, ongoing: false }, log, { urgent: true });
const registry = createWorkerRegistry(redis, createKeys(config.REDIS_PREFIX, config.REDIS_HEARTBEAT_PREFIX));

const leaving = new AbortController();
parentPort?.on('message', (message) => message === LEAVE && leaving.abort());

const watchdog = createWatchdog({ pulse, overrunMs, stalledMs, kill });
const watching = setInterval(() => watchdog.look(), Math.min(500, stalledMs / 4));

while (!leaving.signal.aborted) {
  const begunMs = monotonicNowMs();
  const pauseMs = await beat();
  await delay(Math.max(0, begunMs + pauseMs - monotonicNowMs()), undefined, { signal: leaving.signal }).catch(() => {});
}
await registry.leave(description.id).catch(logUnlessOutage);
clearInterval(watching);
await redis.close();
parentPort?.close();

/** @returns milliseconds from the begin of this beat to that of the next: sooner where this one may not have arrived */
async function beat(): Promise<number> {
  try {
    await registry.beat({ ...description, busy: pulse.busy, draining: pulse.draining }, config);
    parentPort?.postMessage(BEATEN);
    return config.HEARTBEAT_INTERVAL;
  } catch (error) {
    logUnlessOutage(error);
    if (!(error instanceof StoreUnavailableError)) return config.HEARTBEAT_INTERVAL;
    await redis.untilReady(REDIS_COMMAND_TIMEOUT_MS);
    return Math.min(config.HEARTBEAT_INTERVAL, BEAT_RETRY_MS);
  }
}

function logUnlessOutage(error: unknown): void {
  if (!(error instanceof StoreUnavailableError)) log.error({ err: error }, 'heartbeat failed');
}

/** The main loop cannot log any more; the line goes straight to the file descriptor. */
function kill(overrun: { readonly overrunMs: number; readonly stalledMs: number }): void {
  const line = {
    level: 'fatal',
    time: new Date().toISOString(),
    process: 'worker',
    worker_id: description.id,
    ...overrun,
  };
  writeSync(
    2,
    `${JSON.stringify({ ...line, msg: 'main loop stands still beyond a deadline, killing the process' })}\n`,
  );
  process.kill(process.pid, 'SIGKILL');
}
