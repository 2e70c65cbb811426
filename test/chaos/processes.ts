import { spawn, type ChildProcess } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { boundToParent } from '../../scripts/stores/unprivileged.ts';
import type { Interval, LogEntry, ProcessRecord } from './evidence.ts';

export type ProcessKind = ProcessRecord['kind'];

export interface ProcessRecipe {
  readonly name: string;
  readonly kind: ProcessKind;
  /** Root of the sources that it runs: the project, or a patched copy. */
  readonly root: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly slots: number;
  /** The log message that shows that the process is up. */
  readonly upWhen: string;
}

/** A process of the scheduler that is restarted whenever it ends, as an orchestrator would do. */
export interface ChaosProcess {
  readonly name: string;
  readonly kind: ProcessKind;
  readonly recipe: ProcessRecipe;
  /** Whether its current incarnation is up. */
  readonly isUp: boolean;
  /** Its id as a worker or as a holder of the sweeper's lease. */
  readonly workerId: string | null;
  /** Returns all incarnations so far. */
  records(): ProcessRecord[];
  start(): Promise<void>;
  /** Sends SIGKILL and resolves when the process has ended. */
  kill(): Promise<void>;
  terminate(reason: 'SIGTERM' | 'end of the run'): Promise<void>;
  /** Sends SIGSTOP, and SIGCONT after `ms` milliseconds. */
  freeze(ms: number): Promise<void>;
  /** Records that the process cannot reach a store, until `end()`. */
  cutOff(fault: string): { end(): void };
  /** Stops restarting the process. */
  retire(): void;
}

interface Incarnation {
  readonly child: ChildProcess;
  readonly log: LogEntry[];
  readonly cutOff: { fromMs: number; toMs: number; fault: string }[];
  readonly exited: Promise<void>;
  startedAtMs: number;
  up: boolean;
  workerId: string | null;
  exitedAtMs: number | null;
  endedBy: string | null;
}

/** Messages at level `info` that are kept for invariants or figures. */
const KEPT_MESSAGES = new Set(['store answers again', 'stopping']);
const RESTART_PAUSE_MS = 500;
const UP_TIMEOUT_MS = 40_000;
const END_TIMEOUT_MS = 60_000;

export const nowMs = (): number => performance.timeOrigin + performance.now();

export function createChaosProcess(recipe: ProcessRecipe, logDirectory: string): ChaosProcess {
  const incarnations: Incarnation[] = [];
  let retired = false;
  const current = (): Incarnation | undefined => incarnations.at(-1);
  const running = (): Incarnation | undefined => (current()?.exitedAtMs === null ? current() : undefined);

  const launch = (): Promise<void> => {
    const incarnation = spawnIncarnation(recipe, join(logDirectory, `${recipe.name}.log`));
    incarnations.push(incarnation);
    void startAgainAfter(incarnation);
    return untilUp(incarnation);
  };

  const startAgainAfter = async (incarnation: Incarnation): Promise<void> => {
    await incarnation.exited;
    if (retired) return;
    await delay(RESTART_PAUSE_MS);
    if (!retired && current() === incarnation) await launch();
  };

  const end = async (signal: NodeJS.Signals, reason: string): Promise<void> => {
    const incarnation = running();
    if (incarnation === undefined) return;
    incarnation.endedBy ??= reason;
    if (signal === 'SIGTERM') incarnation.cutOff.push({ fromMs: nowMs(), toMs: Infinity, fault: reason });
    incarnation.child.kill(signal);
    const late = delay(END_TIMEOUT_MS, 'late', { ref: false });
    if ((await Promise.race([incarnation.exited, late])) === 'late') {
      incarnation.endedBy = `${reason}, which it did not obey in ${END_TIMEOUT_MS} ms`;
      incarnation.child.kill('SIGKILL');
      await incarnation.exited;
    }
  };

  return {
    name: recipe.name,
    kind: recipe.kind,
    recipe,
    get isUp() {
      return running()?.up === true;
    },
    get workerId() {
      return running()?.workerId ?? null;
    },
    records: () => incarnations.map((incarnation) => recordOf(recipe, incarnation)),
    start: launch,
    async kill() {
      await end('SIGKILL', 'SIGKILL');
    },
    terminate: (reason) => end('SIGTERM', reason),
    async freeze(ms) {
      const incarnation = running();
      if (incarnation === undefined) return;
      const window = { fromMs: nowMs(), toMs: Infinity, fault: 'SIGSTOP' };
      incarnation.cutOff.push(window);
      incarnation.child.kill('SIGSTOP');
      await delay(ms);
      incarnation.child.kill('SIGCONT');
      window.toMs = nowMs();
    },
    cutOff(fault) {
      const window = { fromMs: nowMs(), toMs: Infinity, fault };
      running()?.cutOff.push(window);
      return { end: () => void (window.toMs = nowMs()) };
    },
    retire() {
      retired = true;
    },
  };
}

function spawnIncarnation(recipe: ProcessRecipe, logPath: string): Incarnation {
  const command = boundToParent([process.execPath, ...recipe.args], 'KILL');
  const [program, ...args] = command as [string, ...string[]];
  const env = { PATH: process.env['PATH'] ?? '', ...recipe.env };
  const child = spawn(program, args, { cwd: recipe.root, env, stdio: ['ignore', 'pipe', 'pipe'] });
  const file = createWriteStream(logPath, { flags: 'a' });
  const ended = Promise.withResolvers<void>();
  const incarnation: Incarnation = {
    child,
    log: [],
    cutOff: [],
    exited: ended.promise,
    startedAtMs: nowMs(),
    up: false,
    workerId: null,
    exitedAtMs: null,
    endedBy: null,
  };
  child.on('exit', () => {
    incarnation.exitedAtMs = nowMs();
    for (const window of incarnation.cutOff) window.toMs = Math.min(window.toMs, incarnation.exitedAtMs);
  });
  child.on('close', () => {
    file.end();
    ended.resolve();
  });
  child.on('error', () => ended.resolve());
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (text) => {
      file.write(`${text}\n`);
      take(text, incarnation, recipe);
    });
  }
  return incarnation;
}

function take(text: string, incarnation: Incarnation, recipe: ProcessRecipe): void {
  // Skip these without parsing: there are thousands of them, and parsing them would cost more than the run itself.
  const settled = text.includes('"msg":"attempt settled"');
  if (settled) return;
  let fields: Record<string, unknown>;
  try {
    fields = JSON.parse(text) as Record<string, unknown>;
  } catch {
    if (text.startsWith('{') || incarnation.log.length > 1_000) return;
    fields = { level: 'output', msg: text };
  }
  const { level, msg } = fields;
  // This is the id under which the process holds tasks or the sweeper's lease.
  const name = fields['worker_id'] ?? fields['holder'];
  if (typeof name === 'string') incarnation.workerId ??= name;
  if (msg === recipe.upWhen && !incarnation.up) {
    incarnation.up = true;
    incarnation.startedAtMs = nowMs();
  }
  if (level !== 'info' || KEPT_MESSAGES.has(String(msg)))
    incarnation.log.push({ level: String(level), msg: String(msg), atMs: nowMs(), fields });
}

async function untilUp(incarnation: Incarnation): Promise<void> {
  const deadline = performance.now() + UP_TIMEOUT_MS;
  while (!incarnation.up && incarnation.exitedAtMs === null) {
    if (performance.now() > deadline) return;
    await delay(20);
  }
}

function recordOf(recipe: ProcessRecipe, incarnation: Incarnation): ProcessRecord {
  const { child, workerId, startedAtMs, exitedAtMs, endedBy, log } = incarnation;
  const cutOff: (Interval & { fault: string })[] = incarnation.cutOff;
  return {
    name: recipe.name,
    kind: recipe.kind,
    pid: child.pid ?? -1,
    workerId: recipe.kind === 'worker' ? workerId : null,
    slots: recipe.slots,
    // If it never came up, it has no time in which it served.
    startedAtMs: incarnation.up ? startedAtMs : (exitedAtMs ?? Infinity),
    exitedAtMs,
    exit: exitedAtMs === null ? null : { code: child.exitCode, signal: child.signalCode },
    endedBy,
    cutOff,
    log,
  };
}
