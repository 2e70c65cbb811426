import { setTimeout as delay } from 'node:timers/promises';
import { LAST_TURN_MS } from '../config/timings.ts';
import type { Service } from './service.ts';

export interface LoopOptions {
  readonly name: string;
  /** Milliseconds from the end of one turn to the start of the next. */
  readonly intervalMs: number | (() => number);
  /** Share of the interval, 0..1, that chance adds or takes away, so that processes do not fall into step. */
  readonly jitter?: number;
  readonly random?: () => number;
  readonly runOnce: (signal: AbortSignal) => Promise<unknown>;
  /** A turn that throws does not end the loop. */
  readonly onError: (error: unknown) => void;
}

/** Calls `runOnce` again and again, never twice at a time, until it is stopped. */
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

/** Waits for what was told to end, but not for ever: what hangs on a store must not keep the rest of its process from ending. */
export async function untilEnded(running: Promise<unknown> | undefined, ms = LAST_TURN_MS): Promise<void> {
  if (running === undefined) return;
  const ended = new AbortController();
  await Promise.race([running, pause(ms, ended.signal)]).finally(() => ended.abort());
}

/** Waits, and returns early instead of throwing when the signal fires. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await delay(ms, undefined, { signal });
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}
