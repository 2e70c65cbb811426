import { OVERRUN_LOOK_INTERVAL_MS, OVERRUN_WARN_AFTER_MS } from '../config/timings.ts';
import { SchedulerError } from '../core/errors.ts';
import type { Attempt } from '../engine/attempts/attempt.ts';
import type { Slots } from '../engine/attempts/slots.ts';
import { createLoop } from '../lifecycle/loop.ts';
import type { Service } from '../lifecycle/service.ts';
import type { Logger } from '../telemetry/logger.ts';

/** Every slot is taken by a handler that runs on after its time limit, so the process has to be replaced. */
export class SlotsOverrunError extends SchedulerError {
  override readonly exitCode = 3;

  constructor(overrun: readonly Attempt[], forMs: number) {
    super(
      'slots_overrun',
      `every slot has been taken for ${Math.round(forMs / 1_000)} s by a handler that goes on after its time limit, ` +
        `so this worker cannot run anything else, and ends so that it can be replaced; the handlers run ${listed(overrun)}`,
    );
  }
}

export interface OverrunWatchParts {
  readonly slots: Pick<Slots, 'total' | 'overrun'>;
  /** Milliseconds for which all slots may be overrun; 0 means no limit. */
  readonly graceMs: number;
  /** Called once, when all slots have been overrun for `graceMs`. */
  readonly onAllOverrun: (error: SlotsOverrunError) => void;
  readonly log: Logger;
  readonly nowMs: () => number;
}

export interface OverrunWatch extends Service {
  look(): void;
}

/**
 * Watches handlers that ignore their time limit. Their attempts are settled, but each handler keeps its slot until it
 * returns, because it still uses the machine. The watch warns once per handler, and ends the process when such handlers
 * have taken all slots.
 */
export function createOverrunWatch(parts: OverrunWatchParts): OverrunWatch {
  const { slots, graceMs, onAllOverrun, log, nowMs } = parts;
  const warned = new WeakSet<Attempt>();
  let allSinceMs: number | null = null;
  let ended = false;

  const look = (): void => {
    const now = nowMs();
    const overrun = slots.overrun(now);
    for (const attempt of overrun) {
      const overrunMs = now - attempt.deadlineMs;
      if (overrunMs < OVERRUN_WARN_AFTER_MS || warned.has(attempt)) continue;
      warned.add(attempt);
      attempt.log.warn(
        {
          queue: attempt.task.queue,
          action: attempt.action,
          timeout_ms: attempt.task.timeoutMs,
          overrun_ms: Math.round(overrunMs),
        },
        'handler goes on after its time limit: it keeps its slot until it returns, and a new attempt may run beside it',
      );
    }
    if (overrun.length < slots.total) {
      allSinceMs = null;
      return;
    }
    allSinceMs ??= now;
    if (graceMs === 0 || ended || now - allSinceMs < graceMs) return;
    ended = true;
    onAllOverrun(new SlotsOverrunError(overrun, now - allSinceMs));
  };

  const loop = createLoop({
    name: 'overrun-watch',
    intervalMs: OVERRUN_LOOK_INTERVAL_MS,
    runOnce: async () => look(),
    onError: (error) => log.error({ err: error }, 'looking at overrun handlers failed'),
  });
  return { ...loop, look };
}

/** Most tasks named in the error. Each of the others has its own log line. */
const NAMED_MAX = 10;

function listed(overrun: readonly Attempt[]): string {
  const named = overrun.slice(0, NAMED_MAX).map(({ task, action }) => `${task.id} (action ${JSON.stringify(action)})`);
  const more = overrun.length - named.length;
  return `the tasks ${named.join(', ')}${more === 0 ? '' : ` and ${more} more`}`;
}
