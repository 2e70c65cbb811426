import { pause } from '../lifecycle/loop.ts';
import type { Service } from '../lifecycle/service.ts';
import type { Config } from '../config/env.ts';
import {
  BLOCKED_WAIT_MAX_MS,
  REFUSED_START_DELAY_MS,
  STORE_RETRY_MAX_MS,
  STORE_RETRY_MIN_MS,
} from '../config/timings.ts';
import { StoreUnavailableError } from '../core/errors.ts';
import type { StartRefusal } from '../core/outcome.ts';
import { memberOf, positionOf, type Position } from '../core/priority.ts';
import type { StartedTask } from '../core/task.ts';
import type { Claim, Returned, TaskQueue } from '../queue/task-queue.ts';
import type { WakeWaiter } from '../queue/wake-waiter.ts';
import type { StoredQueueSettings } from '../store/queue-settings.ts';
import type { StartResult, TaskStore } from '../store/task-store.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Settler } from './settler.ts';
import type { Slots } from './slots.ts';

/** From a free slot to a started attempt. */
export interface ClaimLoop extends Service {
  /** One turn: waits for a free slot, claims, and where there was too little work, waits for more. */
  runOnce(signal: AbortSignal): Promise<{ readonly claimed: number }>;
  /** Whether the start of a task is on its way. */
  isStarting(id: string): boolean;
  /** Monotonic milliseconds of the latest sign of life. */
  readonly turnedAtMs: number;
}

export interface ClaimLoopParts {
  readonly workerId: string;
  readonly config: Pick<Config, 'WORKER_QUEUES' | 'WORKER_QUEUE_ORDER' | 'WORKER_CLAIM_BATCH' | 'LOST_CAP'>;
  readonly store: Pick<TaskStore, 'start'>;
  readonly queue: TaskQueue;
  readonly waiter: WakeWaiter;
  /** Reads from PostgreSQL, and so also tells whether it answers. */
  readonly loadSettings: (queues: readonly string[]) => Promise<StoredQueueSettings[]>;
  readonly slots: Slots;
  readonly settler: Pick<Settler, 'waitForRoom'>;
  readonly execute: (task: StartedTask, waitedMs: number) => void;
  /** Hands back a task that was started when the worker had already been told to stop. */
  readonly release: (task: StartedTask) => void;
  readonly metrics: Pick<Metrics, 'startsRefused' | 'taskWait' | 'queueLabel'>;
  readonly log: Logger;
  readonly nowMs: () => number;
}

export function createClaimLoop(parts: ClaimLoopParts): ClaimLoop {
  const { config, queue, waiter, slots, workerId, log, nowMs } = parts;
  const { WORKER_QUEUES: queues, WORKER_CLAIM_BATCH: batchMax } = config;
  const starting = new Set<string>();
  const stopping = new AbortController();
  let running: Promise<void> | undefined;
  let turnedAtMs = nowMs();
  let firstQueue = 0;

  /** Claims across the queues until the free slots or the batch are used up. */
  const claimRound = async (most: number, signal: AbortSignal): Promise<Round> => {
    let claimed = 0;
    let waitMs = BLOCKED_WAIT_MAX_MS;
    for (const name of inOrder(queues, firstQueue)) {
      if (claimed === most || signal.aborted) break;
      const claim = await claimFrom(name, most - claimed);
      claimed += claim.members.length;
      if (claim.nextDueMs !== null) waitMs = Math.min(waitMs, claim.nextDueMs);
      if (claim.members.length > 0) await startClaimed(name, claim.members, signal);
    }
    if (config.WORKER_QUEUE_ORDER === 'round-robin') firstQueue = (firstQueue + 1) % queues.length;
    return { claimed, waitMs: claimed === most ? 0 : waitMs };
  };

  const claimFrom = async (name: string, most: number): Promise<Claim> => {
    turnedAtMs = nowMs();
    const claim = await queue.claim(name, workerId, most);
    if (claim.state !== 'unknown') return claim;
    // Redis has lost the settings: without them a paused queue would run again.
    const [settings] = await parts.loadSettings([name]);
    if (settings !== undefined) await queue.setSettings(name, settings);
    return queue.claim(name, workerId, most);
  };

  /** Starts what was claimed; nothing of it is forgotten, whatever happens on the way. */
  const startClaimed = async (name: string, members: readonly string[], signal: AbortSignal): Promise<void> => {
    const positions = members.map(positionOf).filter((position) => position !== null);
    if (positions.length < members.length) log.error({ queue: name }, 'a member of the queue names no task');
    const giveBack = (waitMs: number): Promise<void> =>
      putBack(
        name,
        positions.map((position) => ({ position, waitMs })),
      );
    if (signal.aborted) return giveBack(0);

    const ids = positions.map(({ id }) => id);
    for (const id of ids) starting.add(id);
    try {
      const suspectAllowed = !slots.hasSuspect(config.LOST_CAP);
      const results = await parts.store.start(ids, workerId, config.LOST_CAP, suspectAllowed);
      // In the same turn of the event loop as the end of `starting`, so that the holdings see each task in one of the two.
      await putBack(name, takeUp(positions, results, signal));
    } catch (error) {
      // It may have been started all the same; then the holdings find the row.
      await giveBack(error instanceof StoreUnavailableError ? 0 : REFUSED_START_DELAY_MS);
      throw error;
    } finally {
      for (const id of ids) starting.delete(id);
    }
  };

  /** Executes what was started. @returns the members to give back or to drop */
  const takeUp = (positions: readonly Position[], results: readonly StartResult[], signal: AbortSignal): Returned[] =>
    results.flatMap((result, i): Returned[] => {
      const position = positions[i] as Position;
      if (result.verdict !== 'started') {
        parts.metrics.startsRefused.inc({ reason: result.verdict });
        return [{ position, waitMs: waitAfter(result.verdict, result.waitMs) }];
      }
      const { task, waitedMs } = result;
      parts.metrics.taskWait.observe({ queue: parts.metrics.queueLabel(task.queue) }, waitedMs / 1_000);
      if (signal.aborted) parts.release(task);
      else parts.execute(task, waitedMs);
      // An old member of a task that was moved since: its row's member is the one that counts.
      return memberOf(task) === memberOf(position) ? [] : [{ position, waitMs: null }];
    });

  /** Never rejects for an outage: a claim that was not started is found by reconcile. */
  const putBack = async (name: string, returned: readonly Returned[]): Promise<void> => {
    if (returned.length === 0) return;
    try {
      await queue.release(name, workerId, returned);
    } catch (error) {
      if (!(error instanceof StoreUnavailableError)) throw error;
    }
  };

  const runOnce = async (signal: AbortSignal): Promise<{ claimed: number }> => {
    turnedAtMs = nowMs();
    const free = await slots.waitForFree(BLOCKED_WAIT_MAX_MS, signal);
    if (free === 0 || !(await parts.settler.waitForRoom(BLOCKED_WAIT_MAX_MS, signal))) return { claimed: 0 };
    const { claimed, waitMs } = await claimRound(Math.min(free, batchMax), signal);
    if (waitMs > 0) await waiter.wait(waitMs, signal);
    return { claimed };
  };

  const run = async (signal: AbortSignal): Promise<void> => {
    let retryMs = STORE_RETRY_MIN_MS;
    let doubted: unknown = null;
    while (!signal.aborted) {
      try {
        // After a failure nothing is claimed before PostgreSQL has answered: it would only be given back.
        if (doubted !== null) await parts.loadSettings(queues);
        doubted = null;
        await runOnce(signal);
        retryMs = STORE_RETRY_MIN_MS;
      } catch (error) {
        doubted = error;
        turnedAtMs = nowMs();
        if (!(error instanceof StoreUnavailableError)) log.error({ err: error }, 'claiming failed');
        await pause(retryMs, signal);
        retryMs = Math.min(STORE_RETRY_MAX_MS, retryMs * 2);
      }
    }
  };

  return {
    name: 'claim-loop',
    runOnce,
    isStarting: (id) => starting.has(id),
    get turnedAtMs() {
      return turnedAtMs;
    },
    async start() {
      running ??= run(stopping.signal);
    },
    async stop() {
      stopping.abort();
      await running;
      await waiter.close();
    },
  };
}

interface Round {
  readonly claimed: number;
  /** Milliseconds until another look is worth it, unless a marker comes sooner; 0 is at once. */
  readonly waitMs: number;
}

function inOrder(queues: readonly string[], first: number): string[] {
  return [...queues.slice(first), ...queues.slice(0, first)];
}

/** Milliseconds until a refused task may be claimed again; null drops it. */
function waitAfter(refusal: StartRefusal, waitMs: number): number | null {
  if (refusal === 'gone') return null;
  return refusal === 'early' ? waitMs : REFUSED_START_DELAY_MS;
}
