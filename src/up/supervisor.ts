import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process';
import { once } from 'node:events';
import { extname, join } from 'node:path';
import { CHILD_RESTART_MAX_MS, CHILD_RESTART_MIN_MS, CHILD_STEADY_AFTER_MS } from '../config/timings.ts';
import { systemClock, type Clock } from '../core/clock.ts';
import { pause } from '../lifecycle/loop.ts';
import type { Service } from '../lifecycle/service.ts';
import type { Logger } from '../telemetry/logger.ts';

/** A process to keep running. */
export interface ChildCommand {
  readonly name: string;
  /** Program and arguments. */
  readonly command: readonly string[];
  /** Added to the environment of this process. */
  readonly env?: Readonly<Record<string, string>>;
  /** The child's standard input and output. By default it writes to the output of this process. */
  readonly stdio?: StdioOptions;
}

export interface SupervisorOptions {
  readonly log: Logger;
  /** Number of worker processes, in addition to one API and one reclaimer … */
  readonly workers?: number;
  /** … or the list of all processes. */
  readonly children?: readonly ChildCommand[];
  /** Milliseconds before a crashed process is started again. The delay doubles with each crash in a row. */
  readonly restartDelayMs?: { readonly min: number; readonly max: number };
  readonly clock?: Clock;
}

/**
 * Keeps child processes running. A child that ends is started again, after a pause
 * that grows while it keeps failing. `stop()` sends SIGTERM to all children and waits
 * for them. If this process exits first (a second signal), it kills them.
 */
export function createSupervisor(options: SupervisorOptions): Service {
  const { log, children = schedulerChildren(options.workers ?? 1), clock = systemClock } = options;
  const { min, max } = options.restartDelayMs ?? { min: CHILD_RESTART_MIN_MS, max: CHILD_RESTART_MAX_MS };
  const stopping = new AbortController();
  const running = new Set<ChildProcess>();
  let lives: Promise<void>[] = [];

  const keepRunning = async (child: ChildCommand): Promise<void> => {
    for (let crashes = 0; !stopping.signal.aborted;) {
      const sinceMs = clock.monotonicMs();
      const ending = await runToEnd(child);
      if (stopping.signal.aborted) return;
      crashes = clock.monotonicMs() - sinceMs >= CHILD_STEADY_AFTER_MS ? 1 : crashes + 1;
      const delayMs = Math.min(max, min * 2 ** (crashes - 1));
      const why = reasonOf(ending);
      log.error(
        { child: child.name, ...ending, ...(why === null ? {} : { why }), restartInMs: delayMs },
        'child process ended',
      );
      await pause(delayMs, stopping.signal);
    }
  };

  const runToEnd = async (
    child: ChildCommand,
  ): Promise<{ code: number | null; signal: string | null; err?: unknown }> => {
    const [program, ...args] = child.command as [string, ...string[]];
    // Use a separate process group. Otherwise Ctrl-C in a terminal would reach the child in addition to our SIGTERM, and
    // a second signal ends a process at once.
    const started = spawn(program, args, {
      env: { ...process.env, ...child.env },
      stdio: child.stdio ?? ['ignore', 'inherit', 'inherit'],
      detached: true,
    });
    running.add(started);
    try {
      await once(started, 'spawn');
      log.info({ child: child.name, pid: started.pid }, 'child process started');
      if (started.exitCode === null && started.signalCode === null) await once(started, 'exit');
      return { code: started.exitCode, signal: started.signalCode };
    } catch (err) {
      return { code: null, signal: null, err };
    } finally {
      running.delete(started);
    }
  };

  const killAll = (): void => {
    for (const child of running) child.kill('SIGKILL');
  };

  return {
    name: 'supervisor',
    async start() {
      if (lives.length > 0 || stopping.signal.aborted) return;
      process.on('exit', killAll);
      lives = children.map(keepRunning);
    },
    async stop() {
      stopping.abort();
      for (const child of running) child.kill('SIGTERM');
      await Promise.all(lives);
      process.off('exit', killAll);
    },
  };
}

/** The most likely reason for a signal or exit code. The last lines of the process may say more. */
const REASONS: Readonly<Record<string, string>> = {
  SIGKILL: 'killed by its watchdog (its last line says so), by the kernel because it ran out of memory, or by a user',
  SIGABRT: 'aborted, most likely because it ran out of heap memory',
  SIGSEGV: 'crashed in native code',
  SIGBUS: 'crashed in native code',
  2: 'its settings are wrong',
  3: 'handlers that went on after their time limit had taken every slot',
};

function reasonOf({ code, signal }: { readonly code: number | null; readonly signal: string | null }): string | null {
  return REASONS[signal ?? String(code)] ?? null;
}

/** Returns one API, some workers and one reclaimer, which run the same code as this process. */
export function schedulerChildren(workers: number): ChildCommand[] {
  const main = join(import.meta.dirname, '..', `main${extname(import.meta.filename)}`);
  const child = (name: string, ...args: string[]): ChildCommand => ({
    name,
    command: [process.execPath, main, ...args],
    // The children share a host, so each one selects a free port for its metrics.
    env: { METRICS_PORT: '0' },
  });
  return [
    child('api', 'api'),
    ...Array.from({ length: workers }, (_, index) => child(`worker-${index + 1}`, 'worker')),
    child('reclaimer', 'reclaimer', '--loop'),
  ];
}
