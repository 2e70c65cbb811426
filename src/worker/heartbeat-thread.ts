import { writeSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { STORE_RETRY_MAX_MS, STORE_RETRY_MIN_MS } from '../config/timings.ts';
import { StoreUnavailableError } from '../core/errors.ts';
import { createKeys } from '../queue/keys.ts';
import { createRedis } from '../queue/redis.ts';
import { createWorkerRegistry } from '../queue/worker-registry.ts';
import { createLogger } from '../telemetry/logger.ts';
import { BEATEN, LEAVE, type HeartbeatThreadData } from './heartbeat.ts';
import { createPulse } from './pulse.ts';
import { createWatchdog } from './watchdog.ts';

const { config, description, pulse: buffer, overrunMs, stalledMs } = workerData as HeartbeatThreadData;

const pulse = createPulse(buffer);
const log = createLogger(config.LOG_LEVEL, { process: 'worker', thread: 'heartbeat', worker_id: description.id });
// The main thread speaks of outages; two voices would say everything twice.
const redis = createRedis(config, { failed: () => {}, answered: () => {}, ongoing: false }, log);
const registry = createWorkerRegistry(redis, createKeys(config.REDIS_PREFIX, config.REDIS_HEARTBEAT_PREFIX));

const leaving = new AbortController();
parentPort?.on('message', (message) => message === LEAVE && leaving.abort());

const watchdog = createWatchdog({ pulse, overrunMs, stalledMs, kill });
const watching = setInterval(() => watchdog.look(), Math.min(500, stalledMs / 4));

let retryMs = STORE_RETRY_MIN_MS;
while (!leaving.signal.aborted) {
  const beaten = await beat();
  // Without Redis sooner again, so that a worker is back in the registry soon after its return.
  const pauseMs = Math.min(config.HEARTBEAT_INTERVAL, beaten ? Infinity : retryMs);
  retryMs = beaten ? STORE_RETRY_MIN_MS : Math.min(STORE_RETRY_MAX_MS, retryMs * 2);
  await delay(pauseMs, undefined, { signal: leaving.signal }).catch(() => {});
}
await registry.leave(description.id).catch(ignoreOutage);
clearInterval(watching);
await redis.close();
parentPort?.close();

async function beat(): Promise<boolean> {
  try {
    await registry.beat({ ...description, busy: pulse.busy, draining: pulse.draining }, config.HEARTBEAT_TTL);
    parentPort?.postMessage(BEATEN);
    return true;
  } catch (error) {
    ignoreOutage(error);
    return false;
  }
}

function ignoreOutage(error: unknown): void {
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
