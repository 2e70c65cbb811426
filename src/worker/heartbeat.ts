import { once } from 'node:events';
import { hostname } from 'node:os';
import { extname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import type { Config } from '../config/env.ts';
import {
  FIRST_BEAT_WAIT_MS,
  HEARTBEAT_LEAVE_MS,
  HEARTBEAT_RESTART_MS,
  LOOP_STALLED_MS,
  LOOP_TICK_INTERVAL_MS,
  WATCHDOG_OVERRUN_MS,
} from '../config/timings.ts';
import type { WorkerDescription } from '../engine/presence/worker-registry.ts';
import type { Service } from '../lifecycle/service.ts';
import type { RedisSettings } from '../redis/redis.ts';
import type { Logger } from '../telemetry/logger.ts';
import { monotonicNowMs, type Pulse } from './pulse.ts';

type HeartbeatConfig = RedisSettings &
  Pick<
    Config,
    | 'REDIS_PREFIX'
    | 'REDIS_HEARTBEAT_PREFIX'
    | 'HEARTBEAT_INTERVAL'
    | 'HEARTBEAT_TTL'
    | 'HEARTBEAT_GAP'
    | 'LOG_LEVEL'
    | 'POD_NAME'
    | 'POD_NAMESPACE'
  >;

/** The data that the thread gets when it starts. Structured clone copies it, except for the pulse, which is shared. */
export interface HeartbeatThreadData {
  readonly config: HeartbeatConfig;
  readonly description: Omit<WorkerDescription, 'busy' | 'draining' | 'loopAgeMs'>;
  readonly pulse: SharedArrayBuffer;
  readonly overrunMs: number;
  readonly stalledMs: number;
}

/** Most actions that a worker lists in its beats. */
const ACTIONS_TOLD_MAX = 200;

/** Message of the thread after every beat that Redis accepted. */
export const BEATEN = 'beaten';
/** Message to the thread: leave the registry and end. */
export const LEAVE = 'leave';

export interface HeartbeatOptions {
  readonly config: HeartbeatConfig;
  readonly workerId: string;
  readonly queues: readonly string[];
  /** The actions for which the worker has handlers. */
  readonly actions: readonly string[];
  readonly slots: number;
  readonly pulse: Pulse;
  /** Updates the pulse. Called with every tick of the main loop. */
  readonly onTick: () => void;
  readonly log: Logger;
  readonly overrunMs?: number;
  readonly stalledMs?: number;
}

/**
 * Sends the worker's beats from a separate thread with its own connection, so that a worker does not look dead while a
 * handler blocks its event loop. The thread also kills the process when a deadline is long over and the main loop, which
 * should have settled the attempt, stands still.
 */
export function createHeartbeat(options: HeartbeatOptions): Service {
  const { config, workerId, queues, actions, slots, pulse, onTick, log } = options;
  const { overrunMs = WATCHDOG_OVERRUN_MS, stalledMs = LOOP_STALLED_MS } = options;
  const startedAt = new Date().toISOString();
  const pod =
    config.POD_NAME === '' || config.POD_NAMESPACE === ''
      ? undefined
      : { name: config.POD_NAME, namespace: config.POD_NAMESPACE };
  const firstBeat = Promise.withResolvers<void>();
  let thread: Worker | null = null;
  let ticking: NodeJS.Timeout | undefined;
  let stopped = false;

  const tick = (): void => {
    pulse.tickMs = monotonicNowMs();
    onTick();
  };

  const startThread = (): void => {
    const workerData: HeartbeatThreadData = {
      config,
      description: {
        id: workerId,
        host: hostname(),
        pod,
        pid: process.pid,
        queues,
        actions: actions.slice(0, ACTIONS_TOLD_MAX),
        slots,
        startedAt,
      },
      pulse: pulse.buffer,
      overrunMs,
      stalledMs,
    };
    // The file is `.ts` in the sources and `.js` in the build. The compiler rewrites the extension only in imports.
    const file = new URL(`./heartbeat-thread${extname(import.meta.url)}`, import.meta.url);
    thread = new Worker(file, { workerData, name: 'heartbeat' });
    thread.on('message', (message) => message === BEATEN && firstBeat.resolve());
    thread.on('error', (error) => log.error({ err: error }, 'heartbeat thread failed'));
    thread.on('exit', (code) => {
      if (stopped) return;
      log.error({ code }, 'heartbeat thread ended, starting it again');
      setTimeout(() => !stopped && startThread(), HEARTBEAT_RESTART_MS).unref();
    });
  };

  return {
    name: 'heartbeat',
    async start() {
      if (stopped || thread !== null) return;
      tick();
      ticking = setInterval(tick, LOOP_TICK_INTERVAL_MS);
      startThread();
      await Promise.race([firstBeat.promise, delay(FIRST_BEAT_WAIT_MS, undefined, { ref: false })]);
    },
    async stop() {
      if (stopped) return;
      stopped = true;
      clearInterval(ticking);
      if (thread === null) return;
      const exited = once(thread, 'exit');
      thread.postMessage(LEAVE);
      await Promise.race([exited, delay(HEARTBEAT_LEAVE_MS, undefined, { ref: false })]);
      await thread.terminate();
    },
  };
}
