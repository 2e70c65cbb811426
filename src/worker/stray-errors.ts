import type { Service } from '../lifecycle/service.ts';
import type { Logger } from '../telemetry/logger.ts';
import { runningAttempt } from './executor.ts';

/**
 * Keeps the process alive when a handler causes an error outside its call, for example in a promise that nobody awaits or
 * in a later callback. By default, Node would end the process, and all other tasks of the worker would lose their run
 * because of one handler's mistake. The worker's own state stays sound, because its loops catch their own errors. An
 * attempt that hangs because of such an error ends at its time limit.
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
  /** Name of the error, or the type of a thrown value that is no error. */
  readonly error_name: string;
  readonly error_code?: string | number;
  /** The frames of the error's stack, one per line. */
  readonly frames?: readonly string[];
}

const FRAME = /^ {4}at .*:\d+:\d+\)?$/;
const SHORT = 100;

/** Describes where an error comes from, without its message, which may contain parts of a payload. Never throws. */
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
    // A getter or a proxy of the thrown value threw an error.
    return { error_name: 'unreadable' };
  }
}

function framesOf({ message, stack = '' }: Error): string[] {
  // The message comes before the frames and may look like frames itself.
  const end = message === '' ? -1 : stack.indexOf(message);
  const behind = end === -1 ? stack : stack.slice(end + message.length);
  return behind
    .split('\n')
    .filter((line) => FRAME.test(line))
    .map((line) => line.trim().slice('at '.length));
}
