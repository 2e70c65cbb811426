import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { check, type Verdict } from './checker.ts';
import { startClients, type Clients } from './clients.ts';
import type { Evidence, OldTask } from './evidence.ts';
import { faultOf, NotPossibleHereError, type FaultContext, type Step } from './faults/index.ts';
import { comeToRest, connectionsLeft, readDatabase, readExecutions } from './gather.ts';
import { insertOldTasks } from './old-tasks.ts';
import type { Plan } from './plan.ts';
import { nowMs } from './processes.ts';
import type { RunSettings } from './settings.ts';
import { FLEETING_QUEUE, startSystem, type ChaosSystem } from './system.ts';

/** A fault that was injected, or should have been. */
export interface Injected extends Step {
  readonly fromMs: number;
  readonly toMs: number;
  readonly outcome: string;
  /** Whether the injection failed, or a check of the fault itself. */
  readonly failed: boolean;
  /** Whether this machine cannot inject the fault; `outcome` says why. */
  readonly skipped: boolean;
}

export interface Run {
  readonly plan: Plan;
  readonly settings: RunSettings;
  readonly injected: readonly Injected[];
  readonly evidence: Evidence;
  readonly verdicts: readonly Verdict[];
  readonly startedAtMs: number;
  readonly tookMs: number;
}

export interface RunOptions {
  readonly plan: Plan;
  readonly settings: RunSettings;
  /** Directory for logs, the history and the report. It is emptied first. */
  readonly directory: string;
  readonly root?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly say?: (text: string) => void;
}

/** Starts a system, applies load and faults, waits for rest and checks the result. Always stops all processes. */
export async function runChaos(options: RunOptions): Promise<Run> {
  const { plan, settings, directory, root, env, say = () => {} } = options;
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  const startedAtMs = nowMs();
  const oldTasks: OldTask[] = [];
  const prepare = async (client: pg.Client): Promise<void> => {
    await client.query('INSERT INTO queues (name, keep_completed) VALUES ($1, false)', [FLEETING_QUEUE]);
    oldTasks.push(...(await insertOldTasks(client)));
  };
  const system = await startSystem({
    settings,
    directory,
    prepare,
    ...(root ? { root } : {}),
    ...(env ? { env } : {}),
  });
  for (const missing of system.without) say(`without ${missing}`);
  try {
    const clients = startClients(system.apiUrls, settings, plan.seed, join(directory, 'history.jsonl'));
    const injected = await followPlan({ system, clients }, plan, say);
    await clients.stop();
    say(`load is over after ${clients.offered} tasks, waiting for the system to come to rest`);
    const { evidence } = await gather(system, clients, oldTasks);
    const verdicts = check(evidence);
    return { plan, settings, injected, evidence, verdicts, startedAtMs, tookMs: Math.round(nowMs() - startedAtMs) };
  } finally {
    await system.stopProcesses();
    await system.remove();
  }
}

async function followPlan(context: FaultContext, plan: Plan, say: (text: string) => void): Promise<Injected[]> {
  const startMs = nowMs();
  const steps = plan.steps.map(async (step): Promise<Injected> => {
    await delay(Math.max(0, startMs + step.atMs - nowMs()));
    const fromMs = nowMs();
    const about = `${step.fault}${step.target === null ? '' : ` on ${step.target}`}`;
    try {
      const outcome = await faultOf(step.fault).inject(context, step);
      say(`${((fromMs - startMs) / 1_000).toFixed(1)} s  ${about}: ${outcome}`);
      return { ...step, fromMs, toMs: nowMs(), outcome, failed: false, skipped: false };
    } catch (error) {
      const skipped = error instanceof NotPossibleHereError;
      const outcome = skipped ? error.message : String(error);
      say(`${((fromMs - startMs) / 1_000).toFixed(1)} s  ${about} ${skipped ? 'skipped' : 'FAILED'}: ${outcome}`);
      return { ...step, fromMs, toMs: nowMs(), outcome, failed: !skipped, skipped };
    }
  });
  const [injected] = await Promise.all([Promise.all(steps), delay(plan.lengthMs)]);
  return injected;
}

async function gather(
  system: ChaosSystem,
  clients: Clients,
  oldTasks: readonly OldTask[],
): Promise<{ evidence: Evidence }> {
  const rest = await comeToRest(system, oldTasks);
  await system.stopProcesses();
  const left = await connectionsLeft(system);
  const { settings } = system;
  const evidence: Evidence = {
    bounds: {
      ttlMs: settings.ttlMs,
      recoveryMs: settings.recoveryMs,
      overtakingMs: { strict: STRICT_OVERTAKING_MS },
      lostCap: settings.lostCap,
      slackMs: SLACK_MS,
    },
    ...(await readDatabase(system.postgres.url, system.postgres.clockAheadMs)),
    executions: readExecutions(system.executionsDirectory),
    answers: clients.answers,
    processes: system.processes.flatMap((member) => member.records()),
    disturbances: system.disturbances,
    rest: { ...rest, connectionsLeft: left },
    oldTasks,
  };
  return { evidence };
}

/** On the queue with one slot, a task may be overtaken only until its entry from PostgreSQL arrives in Redis. */
const STRICT_OVERTAKING_MS = 2_500;

/** Allowance for timers and a busy machine. */
const SLACK_MS = 1_500;
