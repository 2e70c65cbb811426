import type { Service } from '../lifecycle/service.ts';
import type { Logger } from '../telemetry/logger.ts';
import { runningAttempt } from './executor.ts';

/**
 * Keeps the process alive when a handler lets an error go astray: a promise that
 * nobody awaits, a callback that throws later. Ending it, as Node does by
 * default, would cost every other task of the worker a lost run for a mistake of
 * one. The state of the worker is not in doubt: its own loops catch what they
 * throw. An attempt that hangs because of it ends at its time limit.
 */
export function createStrayErrorGuard(log: Logger): Service {
  const guard = (kind: string) => (thrown: unknown) => {
    const attempt = runningAttempt.getStore();
    const task =
      attempt === undefined ? {} : { task_id: attempt.task.id, trace_id: attempt.task.traceId, action: attempt.action };
    log.error({ ...describeStray(thrown), kind, ...task }, 'error outside of any handler call');
  };
  const onRejection = guard('unhandledRejection');
  const onException = guard('uncaughtException');
  return {
    name: 'stray-errors',
    async start() {
      process.on('unhandledRejection', onRejection).on('uncaughtException', onException);
    },
    async stop() {
      process.off('unhandledRejection', onRejection).off('uncaughtException', onException);
    },
  };
}

export interface StrayError {
  /** Name of the error, or the type of what was thrown instead. */
  readonly error_name: string;
  readonly error_code?: string | number;
  /** Where it was made: the frames of its stack, a line each. */
  readonly frames?: readonly string[];
}

const FRAME = /^ {4}at .*:\d+:\d+\)?$/;
const SHORT = 100;

/** What tells a mistake's place without its message, which is the handler's own text and may hold parts of a payload. Never throws. */
export function describeStray(thrown: unknown): StrayError {
  try {
    if (!Error.isError(thrown)) return { error_name: typeof thrown };
    const { code } = thrown as { code?: unknown };
    const shownCode = typeof code === 'number' || (typeof code === 'string' && code.length <= SHORT) ? code : undefined;
    return {
      error_name: String(thrown.name).slice(0, SHORT),
      ...(shownCode === undefined ? {} : { error_code: shownCode }),
      frames: framesOf(thrown),
    };
  } catch {
    // A hostile getter or proxy.
    return { error_name: 'unreadable' };
  }
}

function framesOf({ message, stack = '' }: Error): string[] {
  // The message stands before the frames and may look like some.
  const end = message === '' ? -1 : stack.indexOf(message);
  const behind = end === -1 ? stack : stack.slice(end + message.length);
  return behind
    .split('\n')
    .filter((line) => FRAME.test(line))
    .map((line) => line.trim().slice('at '.length));
}
