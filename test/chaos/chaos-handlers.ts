import { openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { FinalError } from '../../src/core/errors.ts';
import type { Handler, HandlerContext } from '../../src/engine/attempts/handler.ts';

/**
 * The handlers of the chaos runs (`HANDLERS`). They record each call in a file of their process, independently of the
 * scheduler: `e <token> <ms>` at its start, `l <token> <ms>` at its end.
 */
interface Wish {
  readonly ms?: number;
  readonly failTimes?: number;
}

const notes = openSync(join(process.env['CHAOS_EXECUTIONS'] ?? '.', `${process.pid}.log`), 'a');

/** Returns the time without `Date`, because a run may shift the `Date` of a process. */
const nowMs = (): string => (performance.timeOrigin + performance.now()).toFixed(3);

function noted(body: (wish: Wish, context: HandlerContext) => unknown): Handler {
  return async (context) => {
    writeSync(notes, `e ${context.attemptToken} ${nowMs()}\n`);
    try {
      return await body(context.payload as Wish, context);
    } finally {
      writeSync(notes, `l ${context.attemptToken} ${nowMs()}\n`);
    }
  };
}

const sleep = ({ ms = 20 }: Wish, { signal }: HandlerContext): Promise<void> =>
  delay(ms, undefined, { signal }).catch(() => {
    throw signal.reason;
  });

function block(ms: number): void {
  const endMs = performance.now() + ms;
  while (performance.now() < endMs);
}

export const actions: Record<string, Handler> = {
  'chaos.work': noted(sleep),
  'chaos.flaky': noted(async (wish, context) => {
    await sleep(wish, context);
    if (context.task.failures < (wish.failTimes ?? 1)) throw new Error('fails at first');
  }),
  'chaos.hopeless': noted(async (wish, context) => {
    await sleep(wish, context);
    throw new Error('always fails');
  }),
  'chaos.final': noted(() => {
    throw new FinalError('fails without a retry');
  }),
  'chaos.pill': noted(async (wish, context) => {
    await sleep(wish, context);
    process.exit(13);
  }),
  'chaos.leak': noted(() => {
    const kept: number[][] = [];
    for (;;) kept.push(Array.from({ length: 100_000 }, (_, i) => i + 0.5));
  }),
  'chaos.blocks': noted(({ ms = 5_000 }) => block(ms)),
  // It blocks only until a worker was lost, so that the task ends.
  'chaos.blocks-for-good': noted(({ ms = 60_000 }, { task }) => block(task.lost > 0 ? 100 : ms)),
  'chaos.ignores-signal': noted(({ ms = 3_000 }) => delay(ms)),
  // It ignores a cancel and runs until its time is over or its process ends.
  'chaos.deaf': noted(({ ms = 3_000 }) => delay(ms)),
  'chaos.throws-text': noted(() => {
    throw 'no error at all';
  }),
  'chaos.throws-nul': noted(() => {
    throw new Error('a NUL \0 and a lone surrogate \ud800');
  }),
  'chaos.unserialisable': noted(() => ({ big: 1n })),
  'chaos.stray': noted(async (wish, context) => {
    void Promise.reject(new Error('nobody awaits this'));
    await sleep(wish, context);
  }),
};
