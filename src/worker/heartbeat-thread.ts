import { writeSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { BEAT_RETRY_MS, LAST_WORDS_MS, REDIS_COMMAND_TIMEOUT_MS } from '../config/timings.ts';
import { StoreUnavailableError } from '../core/errors.ts';
import { createWorkerRegistry, type WorkerDescription, type WorkerEnd } from '../engine/presence/worker-registry.ts';
import { createKeys } from '../redis/keys.ts';
import { createRedis } from '../redis/redis.ts';
import { createLogger } from '../telemetry/logger.ts';
import { BEATEN, LEAVE, type HeartbeatThreadData } from './heartbeat.ts';
import { createPulse, monotonicNowMs } from './pulse.ts';
import { createWatchdog, type Overrun } from './watchdog.ts';

const { config, description, pulse: buffer, overrunMs, stalledMs } = workerData as HeartbeatThreadData;

const pulse = createPulse(buffer);
const log = createLogger(config.LOG_LEVEL, { process: 'worker', thread: 'heartbeat', worker_id: description.id });
// The main thread logs outages, so this thread does not log them again.
const redis = createRedis(config, { failed: () => {}, answered: () => {}, ongoing: false }, log, { urgent: true });
const registry = createWorkerRegistry(redis, createKeys(config.REDIS_PREFIX, config.REDIS_HEARTBEAT_PREFIX));

/** Stops the beats, because a beat would overwrite the last words. */
let wordLeft = false;

const leaving = new AbortController();
parentPort?.on('message', (message) => message === LEAVE && leaving.abort());

const watchdog = createWatchdog({ pulse, overrunMs, stalledMs, kill: (overrun) => void kill(overrun) });
const watching = setInterval(() => watchdog.look(), Math.min(500, stalledMs / 4));

// The main thread waits in its exit handler until the last words have been passed on.
void passLastWordsOn();

while (!leaving.signal.aborted) {
  const begunMs = monotonicNowMs();
  const pauseMs = await beat();
  await delay(Math.max(0, begunMs + pauseMs - monotonicNowMs()), undefined, { signal: leaving.signal }).catch(() => {});
}
await registry.leave(description.id).catch(logUnlessOutage);
clearInterval(watching);
await redis.close();
parentPort?.close();

function described(): WorkerDescription {
  const loopAgeMs = Math.max(0, Math.round(monotonicNowMs() - pulse.tickMs));
  return { ...description, busy: pulse.busy, draining: pulse.draining, loopAgeMs };
}

/** @returns milliseconds from the start of this beat to the next; shorter if this beat may not have arrived */
async function beat(): Promise<number> {
  if (wordLeft) return config.HEARTBEAT_INTERVAL;
  try {
    await registry.beat(described(), config);
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

async function passLastWordsOn(): Promise<void> {
  await leaveWord(JSON.parse(await pulse.lastWords()) as WorkerEnd);
  pulse.passedOn();
}

/** Writes the last words for the sweep that takes this worker's tasks back. Gives up after a time, and never rejects. */
async function leaveWord(end: WorkerEnd): Promise<void> {
  wordLeft = true;
  await Promise.race([registry.end(described(), end).catch(logUnlessOutage), delay(LAST_WORDS_MS)]);
}

/** Logs directly to the file descriptor, because the main loop is blocked and cannot log. */
async function kill(overrun: Overrun): Promise<void> {
  const { earliest } = pulse;
  const message = 'main loop stands still beyond a deadline, killing the process';
  const task =
    earliest === null
      ? {}
      : {
          task_id: earliest.taskId,
          attempt: earliest.attempt,
          action: earliest.action,
        };
  const line = {
    level: 'fatal',
    time: new Date().toISOString(),
    process: 'worker',
    worker_id: description.id,
    ...overrun,
    ...task,
    running: pulse.busy,
  };
  writeSync(2, `${JSON.stringify({ ...line, msg: message })}\n`);
  const limit =
    earliest === null
      ? 'a time limit'
      : `the time limit of the task ${earliest.taskId} (action ${JSON.stringify(earliest.action)})`;
  const blocked = `a handler blocked the event loop for ${Math.round(overrun.stalledMs / 1_000)} s`;
  const late = `while ${limit} had been over for ${Math.round(overrun.overrunMs / 1_000)} s`;
  await leaveWord({ reason: 'watchdog', message: `its watchdog killed it, since ${blocked} ${late}` });
  process.kill(process.pid, 'SIGKILL');
}
