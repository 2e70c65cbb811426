import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { boundToParent } from '../scripts/stores/unprivileged.ts';

export interface BenchProcess {
  readonly pid: number;
  readonly child: ChildProcess;
  /** The line of output that showed that the process is up. */
  readonly ready: string;
  /** Sends a line and resolves with the next line that the process writes. */
  ask(line: string): Promise<string>;
  /** Sends SIGTERM, and SIGKILL if the process does not end in time. */
  stop(): Promise<void>;
}

export interface ProcessRecipe {
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly isReady: (line: string) => boolean;
  /** File for its standard error. */
  readonly log: string;
  /** Whether to discard all output after the ready line, so that the pipe never fills up. */
  readonly quiet?: boolean;
}

const START_MS = 60_000;
const STOP_MS = 35_000;

export async function startProcess({
  command,
  env,
  isReady,
  log,
  quiet = false,
}: ProcessRecipe): Promise<BenchProcess> {
  const [program, ...args] = boundToParent(command, 'KILL') as [string, ...string[]];
  const errors = openSync(log, 'a');
  const { PATH = '', HOME = '', LANG = 'C.UTF-8' } = process.env;
  const child = spawn(program, args, { env: { PATH, HOME, LANG, ...env }, stdio: ['pipe', 'pipe', errors] });
  closeSync(errors);
  const exited = once(child, 'exit');
  const output = child.stdout;
  if (output === null || child.pid === undefined) throw new Error(`${command.join(' ')} did not start`);

  const lines = createInterface({ input: output });
  const waiters: ((line: string) => void)[] = [];
  const { promise: up, resolve, reject } = Promise.withResolvers<string>();
  lines.on('line', (line) => {
    if (isReady(line)) resolve(line);
    else waiters.shift()?.(line);
  });
  const timer = setTimeout(() => reject(new Error(`not up after ${START_MS} ms: ${command.join(' ')}`)), START_MS);
  void exited.then(([code]) => reject(new Error(`ended with ${String(code)}: ${command.join(' ')}; see ${log}`)));
  up.catch(() => {});
  const ready = await up.finally(() => clearTimeout(timer));
  if (quiet) {
    lines.close();
    output.resume();
  }

  return {
    pid: child.pid,
    child,
    ready,
    async ask(line) {
      const answer = Promise.withResolvers<string>();
      waiters.push(answer.resolve);
      child.stdin?.write(`${line}\n`);
      return Promise.race([answer.promise, exited.then(() => Promise.reject(new Error(`ended; see ${log}`)))]);
    },
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGTERM');
      const timeout = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
      await exited;
      clearTimeout(timeout);
    },
  };
}

/** Runs a command and waits for its end. @throws unless it succeeds */
export async function runToEnd({ command, env, log }: Pick<ProcessRecipe, 'command' | 'env' | 'log'>): Promise<void> {
  const { child } = await startProcess({ command, env, isReady: () => true, log, quiet: true });
  if (child.exitCode === null) await once(child, 'exit');
  if (child.exitCode !== 0) throw new Error(`${command.join(' ')} failed; see ${log}`);
}

/**
 * Returns user and system time in seconds of a process and its ended children; 0 if it is gone. Linux only. The time of
 * the threads is in nanoseconds: the usual figures of `stat` count hundredths of a second, too coarse for a short run.
 */
export function cpuSeconds(pid: number): number {
  try {
    const threads = readdirSync(`/proc/${pid}/task`);
    const own = threads.reduce(
      (sum, thread) => sum + Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]),
      0,
    );
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const TICKS_PER_SECOND = 100;
    return own / 1e9 + (Number(fields[13]) + Number(fields[14])) / TICKS_PER_SECOND;
  } catch {
    return 0;
  }
}

/** Returns resident memory in megabytes. Linux only. */
export function residentMb(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? Number.NaN) / 1_024;
}
