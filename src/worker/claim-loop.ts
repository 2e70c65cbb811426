import type { Config } from '../config/env.ts';
import { BLOCKED_WAIT_MAX_MS, STORE_RETRY_MAX_MS, STORE_RETRY_MIN_MS } from '../config/timings.ts';
import { StoreUnavailableError } from '../core/errors.ts';
import type { Settler } from '../engine/attempts/settler.ts';
import type { Slots } from '../engine/attempts/slots.ts';
import { START_LANES, type Starter } from '../engine/attempts/starter.ts';
import type { QueueRow } from '../engine/order/queue-settings.ts';
import type { Claim, TaskQueue } from '../engine/order/task-queue.ts';
import type { WakeWaiter } from '../engine/order/wake-waiter.ts';
import { pause } from '../lifecycle/loop.ts';
import type { Service } from '../lifecycle/service.ts';
import type { Logger } from '../telemetry/logger.ts';

/**
 * Claims tasks for free slots. Claims run one after the other, in the order of the queue. Claimed tasks are started while
 * the next claim runs.
 */
export interface ClaimLoop extends Service {
  /**
   * Runs one turn: waits for a free slot, claims, and waits for more work if there was too little.
   * @throws also the error of a start that an earlier turn began
   */
  runOnce(signal: AbortSignal): Promise<{ readonly claimed: number }>;
  /** Time of the latest sign of life, in monotonic milliseconds. */
  readonly turnedAtMs: number;
}

export interface ClaimLoopParts {
  readonly workerId: string;
  readonly config: Pick<Config, 'WORKER_QUEUES' | 'WORKER_QUEUE_ORDER' | 'WORKER_CLAIM_BATCH'>;
  readonly queue: Pick<TaskQueue, 'claim' | 'setSettings'>;
  readonly waiter: WakeWaiter;
  /** Reads the settings from PostgreSQL. The claim loop also uses it to find out whether PostgreSQL answers. */
  readonly loadSettings: (queues: readonly string[]) => Promise<QueueRow[]>;
  readonly slots: Pick<Slots, 'total' | 'waitForFree'>;
  readonly settler: Pick<Settler, 'waitForRoom'>;
  readonly starter: Starter;
  readonly log: Logger;
  readonly nowMs: () => number;
}

export function createClaimLoop(parts: ClaimLoopParts): ClaimLoop {
  const { config, waiter, slots, settler, starter, nowMs } = parts;
  const { WORKER_QUEUES: queues, WORKER_CLAIM_BATCH: batchMax } = config;
  /** While a start is running, wait for this many free slots before the next, so that load makes few large statements. */
  const worthwhile = Math.min(batchMax, Math.ceil(slots.total / START_LANES));
  const stopping = new AbortController();
  let running: Promise<void> | undefined;
  let turnedAtMs = nowMs();
  let firstQueue = 0;

  const turned = (): void => {
    turnedAtMs = nowMs();
  };

  /** Claims across the queues until the free slots or the batch are used up. */
  const claimRound = async (most: number, signal: AbortSignal): Promise<Round> => {
    let claimed = 0;
    let waitMs = BLOCKED_WAIT_MAX_MS;
    for (const index of turnsFrom(firstQueue, queues.length)) {
      const name = queues[index] as string;
      await starter.untilLane();
      if (claimed === most || signal.aborted) break;
      turned();
      const claim = await claimFrom(parts, name, most - claimed);
      claimed += claim.members.length;
      if (claim.nextDueMs !== null) waitMs = Math.min(waitMs, claim.nextDueMs);
      if (claim.members.length === 0) continue;
      // Begin behind the last queue that gave work. Otherwise the neighbour of an empty queue would also get its turns.
      if (config.WORKER_QUEUE_ORDER === 'round-robin') firstQueue = (index + 1) % queues.length;
      starter.begin(name, claim.members, signal);
    }
    return { claimed, waitMs: claimed === most ? 0 : waitMs };
  };

  const runOnce = async (signal: AbortSignal): Promise<{ claimed: number }> => {
    turned();
    const free = await slots.waitForFree(BLOCKED_WAIT_MAX_MS, signal, worthwhile);
    if (free === 0 || !(await settler.waitForRoom(BLOCKED_WAIT_MAX_MS, signal))) return { claimed: 0 };
    const { claimed, waitMs } = await claimRound(Math.min(free, batchMax), signal);
    if (waitMs > 0) await waiter.wait(waitMs, signal);
    return { claimed };
  };

  return {
    name: 'claim-loop',
    runOnce,
    get turnedAtMs() {
      return turnedAtMs;
    },
    async start() {
      running ??= claimUntil(parts, runOnce, turned, stopping.signal);
    },
    async stop() {
      stopping.abort();
      await running;
      await starter.untilIdle();
      await waiter.close();
    },
  };
}

interface Round {
  readonly claimed: number;
  /** Milliseconds to wait before the next claim, unless a wake-up comes sooner; 0 means at once. */
  readonly waitMs: number;
}

async function claimFrom(parts: ClaimLoopParts, name: string, most: number): Promise<Claim> {
  const { queue, workerId } = parts;
  const claim = await queue.claim(name, workerId, most);
  if (claim.state !== 'unknown') return claim;
  // Redis has lost the settings. Restore them, or a paused queue would run again.
  const [settings] = await parts.loadSettings([name]);
  if (settings !== undefined) await queue.setSettings(name, settings);
  return queue.claim(name, workerId, most);
}

/** Failures closer together than this count as consecutive, because a start's failure shows only in a later turn. */
const FAILURES_APART_MS = 2 * STORE_RETRY_MAX_MS;

async function claimUntil(
  { config, loadSettings, log, nowMs }: ClaimLoopParts,
  runOnce: ClaimLoop['runOnce'],
  turned: () => void,
  signal: AbortSignal,
): Promise<void> {
  let retryMs = STORE_RETRY_MIN_MS;
  let failedAtMs: number | null = null;
  let doubted = false;
  while (!signal.aborted) {
    try {
      // After a failure, claim nothing until PostgreSQL answers: the claimed tasks would only be given back.
      if (doubted) await loadSettings(config.WORKER_QUEUES);
      doubted = false;
      await runOnce(signal);
    } catch (error) {
      doubted = true;
      turned();
      if (!(error instanceof StoreUnavailableError)) log.error({ err: error }, 'claiming failed');
      const inARow = failedAtMs !== null && nowMs() - failedAtMs < FAILURES_APART_MS;
      retryMs = inARow ? Math.min(STORE_RETRY_MAX_MS, retryMs * 2) : STORE_RETRY_MIN_MS;
      await pause(retryMs, signal);
      failedAtMs = nowMs();
    }
  }
}

/** Returns the numbers below `count` in circular order, beginning with `first`. */
function turnsFrom(first: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => (first + i) % count);
}
