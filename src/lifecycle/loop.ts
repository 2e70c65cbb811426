import { setTimeout as delay } from 'node:timers/promises';
import { LAST_TURN_MS } from '../config/timings.ts';
import type { Service } from './service.ts';

export interface LoopOptions {
  readonly name: string;
  /** Milliseconds from the end of one turn to the start of the next. */
  readonly intervalMs: number | (() => number);
  /** Largest share of the interval, 0..1, that is added or removed at random, so that processes do not run in step. */
  readonly jitter?: number;
  readonly random?: () => number;
  readonly runOnce: (signal: AbortSignal) => Promise<unknown>;
  /** Called when a turn throws. The loop goes on. */
  readonly onError: (error: unknown) => void;
}

/** Calls `runOnce` repeatedly until it is stopped. Two calls never overlap. */
export function createLoop(options: LoopOptions): Service {
  const { name, intervalMs, jitter = 0, random = Math.random, runOnce, onError } = options;
  const controller = new AbortController();
  let running: Promise<void> | undefined;

  const pauseMs = (): number => {
    const base = typeof intervalMs === 'number' ? intervalMs : intervalMs();
    return base * (1 + jitter * (2 * random() - 1));
  };

  const run = async (): Promise<void> => {
    while (!controller.signal.aborted) {
      try {
        await runOnce(controller.signal);
      } catch (error) {
        if (!controller.signal.aborted) onError(error);
      }
      await pause(pauseMs(), controller.signal);
    }
  };

  return {
    name,
    async start() {
      running ??= run();
    },
    async stop() {
      controller.abort();
      await untilEnded(running);
    },
  };
}

/**
 * Waits at most `ms` milliseconds for work that was told to end. Work that hangs on a store must not keep the rest of
 * the process from ending.
 */
export async function untilEnded(running: Promise<unknown> | undefined, ms = LAST_TURN_MS): Promise<void> {
  if (running === undefined) return;
  const ended = new AbortController();
  await Promise.race([running, pause(ms, ended.signal)]).finally(() => ended.abort());
}

/** Waits for `ms` milliseconds. Returns early, without throwing, when the signal fires. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await delay(ms, undefined, { signal });
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}
