import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { processTree, signalAll } from '../../scripts/stores/process-tree.ts';
import { boundToParent } from '../../scripts/stores/unprivileged.ts';
import { atEndOfFile } from './end-of-file.ts';

export type LogLine = Readonly<Record<string, unknown>>;

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A real process of the scheduler. It is killed at the end of the test file at the latest. */
export interface TestProcess {
  readonly child: ChildProcess;
  readonly pid: number;
  /** Its log so far: the lines of its output that are JSON objects. */
  readonly lines: readonly LogLine[];
  /** Its whole output so far, for error messages. */
  readonly output: string;
  /** Returns the first log line, past or future, that `matches`. Rejects at the timeout or when the process ends. */
  waitForLine(matches: (line: LogLine) => boolean, timeoutMs?: number): Promise<LogLine>;
  /** Rejects if the process still runs after the timeout. */
  waitForExit(timeoutMs?: number): Promise<Exit>;
  signal(name: NodeJS.Signals): void;
}

/** Long enough for a busy machine, and half of a test's timeout. Tests measure the promised bounds themselves. */
const DEFAULT_TIMEOUT_MS = 30_000;
const POLL_MS = 20;

/**
 * Starts a process in the project's root.
 * @param command `node` as the program means the Node.js that runs the tests
 * @param env its whole environment, except PATH, HOME and similar variables
 */
export function startProcess(command: readonly string[], env: Record<string, string>): TestProcess {
  const words = command.map((word, index) => (index === 0 && word === 'node' ? process.execPath : word));
  const [program, ...args] = boundToParent(words, 'KILL') as [string, ...string[]];
  const child = spawn(program, args, { env: { ...inherited(), ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  const lines: LogLine[] = [];
  let output = '';
  let watchers: (() => void)[] = [];

  const closed = once(child, 'close').then((): void => notify());
  // If the program cannot start, `closed` rejects. Without this listener, the rejection would end the test run.
  closed.catch(() => {});
  const notify = (): void => {
    for (const watcher of watchers) watcher();
  };
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (text) => {
      output += `${text}\n`;
      const line = parse(text);
      if (line === null) return;
      lines.push(line);
      notify();
    });
  }
  atEndOfFile(async () => {
    // Kill its children too, because they would outlive it and keep its output open.
    if (child.pid !== undefined && !hasEnded()) {
      const exited = once(child, 'exit');
      signalAll(processTree(child.pid), 'SIGKILL');
      await exited;
    }
    child.stdout.destroy();
    child.stderr.destroy();
  });

  const hasEnded = (): boolean => child.exitCode !== null || child.signalCode !== null;
  const describe = (): string => `${command.join(' ')} wrote:\n${output.slice(-8_000)}`;

  return {
    child,
    get pid() {
      if (child.pid === undefined) throw new Error(`${command.join(' ')} did not start`);
      return child.pid;
    },
    lines,
    get output() {
      return output;
    },
    waitForLine(matches, timeoutMs = DEFAULT_TIMEOUT_MS) {
      const { promise, resolve, reject } = Promise.withResolvers<LogLine>();
      const timer = setTimeout(
        () => reject(new Error(`no such log line in ${timeoutMs} ms; ${describe()}`)),
        timeoutMs,
      );
      let seen = 0;
      const look = (): void => {
        for (; seen < lines.length; seen++) if (matches(lines[seen] as LogLine)) return resolve(lines[seen] as LogLine);
        if (hasEnded())
          reject(new Error(`ended with ${child.exitCode ?? child.signalCode} before the log line; ${describe()}`));
      };
      watchers.push(look);
      look();
      return promise.finally(() => {
        clearTimeout(timer);
        watchers = watchers.filter((watcher) => watcher !== look);
      });
    },
    async waitForExit(timeoutMs = DEFAULT_TIMEOUT_MS) {
      const abort = new AbortController();
      const late = delay(timeoutMs, 'late', { signal: abort.signal }).catch(() => 'aborted');
      try {
        if ((await Promise.race([closed, late])) === 'late')
          throw new Error(`still runs after ${timeoutMs} ms; ${describe()}`);
      } finally {
        abort.abort();
      }
      return { code: child.exitCode, signal: child.signalCode };
    },
    signal(name) {
      child.kill(name);
    },
  };
}

/**
 * Polls until `check` returns something other than false, null or undefined, and returns that. Use it where no event
 * can be awaited. A check that throws is repeated.
 */
export async function untilTrue<Value>(
  check: () => Value | Promise<Value>,
  options: { timeoutMs?: number; describe?: string | (() => unknown) } = {},
): Promise<NonNullable<Exclude<Value, false>>> {
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    let cause: unknown;
    try {
      const value = await check();
      if (value !== false && value !== null && value !== undefined) return value as NonNullable<Exclude<Value, false>>;
    } catch (error) {
      cause = error;
    }
    if (performance.now() > deadline) {
      const what = typeof options.describe === 'function' ? JSON.stringify(await options.describe()) : options.describe;
      throw new Error(`not true after ${timeoutMs} ms: ${what ?? check.toString()}`, { cause });
    }
    await delay(POLL_MS);
  }
}

/** Returns the environment variables that any program needs, without settings of the scheduler. */
function inherited(): Record<string, string> {
  const names = ['PATH', 'HOME', 'TMPDIR', 'LANG', 'SystemRoot'];
  return Object.fromEntries(
    names.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])),
  );
}

function parse(text: string): LogLine | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as LogLine) : null;
  } catch {
    return null;
  }
}
