import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isForgotten, type Evidence, type Violation } from './evidence.ts';
import { reclaimsOf } from './invariants/recovery.ts';
import type { Run } from './run.ts';

export interface Figures {
  readonly tasks: number;
  readonly attempts: number;
  readonly answers: number;
  readonly unanswered: number;
  readonly byStatus: Readonly<Record<string, number>>;
  readonly byOutcome: Readonly<Record<string, number>>;
  /** Number of handler calls that were repeated because they were lost or released, by reason. */
  readonly duplicates: Readonly<Record<string, number>>;
  readonly settledAfterMs: number | null;
  readonly recoveries: readonly Recovery[];
}

export interface Recovery {
  readonly after: string;
  readonly times: number;
  readonly p50Ms: number;
  readonly maxMs: number;
}

export function figuresOf({ evidence, injected }: Run): Figures {
  const { tasks, attempts, answers, rest } = evidence;
  const rows = [...attempts.values()].flat();
  return {
    tasks: tasks.length,
    attempts: rows.length,
    answers: answers.length,
    unanswered: answers.filter(({ status }) => status === null).length,
    byStatus: countBy(tasks.map(({ status }) => status)),
    byOutcome: countBy(rows.map(({ outcome }) => String(outcome))),
    duplicates: duplicatesOf(evidence),
    settledAfterMs: rest.settledAfterMs,
    recoveries: [...deathsOf(evidence), ...firstStartsAfter(evidence, injected)],
  };
}

/** Writes `report.md` and `report.json` into the directory. @returns the path of `report.md` */
export function writeReport(run: Run, directory: string): string {
  const figures = figuresOf(run);
  const violations = run.verdicts.flatMap((verdict) => verdict.violations);
  const histories = violations
    .slice(0, HISTORIES_MOST)
    .map((violation) => ({ ...violation, history: historyOf(violation, run.evidence) }));
  const { plan, settings, injected, verdicts, tookMs } = run;
  const json = {
    plan,
    settings,
    tookMs,
    figures,
    injected,
    verdicts: verdicts.map(({ invariant, violations: found }) => ({ invariant, violations: found.length })),
    violations: histories,
  };
  writeFileSync(join(directory, 'report.json'), `${JSON.stringify(json, null, 2)}\n`);
  const path = join(directory, 'report.md');
  writeFileSync(path, markdown(run, figures, histories));
  return path;
}

const HISTORIES_MOST = 50;

function markdown(run: Run, figures: Figures, histories: readonly (Violation & { history: string[] })[]): string {
  const { plan, injected, verdicts, tookMs } = run;
  const broken = verdicts.filter(({ violations }) => violations.length > 0);
  const lines = [
    `# Chaos run, seed ${plan.seed}`,
    '',
    `${(plan.lengthMs / 60_000).toFixed(1)} min of load, ${(tookMs / 60_000).toFixed(1)} min in total: ${figures.tasks} tasks, ` +
      `${figures.attempts} attempts, ${figures.answers} requests (${figures.unanswered} without an answer), ${injected.length} faults. ` +
      `At rest ${String(figures.settledAfterMs)} ms after the load.`,
    '',
    `Tasks: ${listOf(figures.byStatus)}. Attempts: ${listOf(figures.byOutcome)}. Repeated executions: ${listOf(figures.duplicates) || 'none'}.`,
    '',
    '| recovery after | times | p50 | max |',
    '|---|---|---|---|',
    ...figures.recoveries.map(
      ({ after, times, p50Ms, maxMs }) => `| ${after} | ${times} | ${seconds(p50Ms)} | ${seconds(maxMs)} |`,
    ),
    '',
    '| invariant | violations |',
    '|---|---|',
    ...verdicts.map(({ invariant, violations }) => `| ${invariant} | ${violations.length} |`),
    '',
    '## Faults',
    '',
    ...injected.map(
      ({ atMs, fault, target, outcome }) =>
        `- ${seconds(atMs)} ${fault}${target === null ? '' : ` on ${target}`}: ${outcome}`,
    ),
  ];
  if (broken.length > 0) {
    lines.push('', '## Violations');
    for (const { invariant, message, taskId, history } of histories) {
      lines.push(
        '',
        `### ${invariant}${taskId === null ? '' : `: ${taskId}`}`,
        '',
        message,
        '',
        ...history.map((line) => `- ${line}`),
      );
    }
  }
  return `${lines.join('\n')}\n`;
}

/** Returns all known events of a task, in order of time. */
export function historyOf({ taskId }: Violation, evidence: Evidence): string[] {
  if (taskId === null) return [];
  const { tasks, attempts, executions, answers, deadLetters, processes } = evidence;
  const task = tasks.find(({ id }) => id === taskId);
  const nameOf = new Map(processes.map(({ workerId, name }) => [workerId, name]));
  const byPid = new Map(processes.map(({ pid, name }) => [pid, name]));
  const events: [number, string][] = [];
  for (const { op, status, ids, refs, sentAtMs } of answers) {
    if (ids.includes(taskId) || (task !== undefined && task.ref !== null && refs.includes(task.ref)))
      events.push([sentAtMs, `${op} was answered ${String(status)}`]);
  }
  for (const { attempt, workerId, startedAtMs, finishedAtMs, outcome } of attempts.get(taskId) ?? []) {
    events.push([startedAtMs, `attempt ${attempt} started by ${nameOf.get(workerId) ?? ''} ${workerId}`]);
    if (finishedAtMs !== null) events.push([finishedAtMs, `attempt ${attempt} ended ${String(outcome)}`]);
  }
  for (const { taskId: id, attempt, pid, enteredAtMs, leftAtMs } of executions) {
    if (id !== taskId) continue;
    events.push([enteredAtMs, `handler of attempt ${attempt} entered in ${byPid.get(pid) ?? ''} (${pid})`]);
    if (leftAtMs !== null) events.push([leftAtMs, `handler of attempt ${attempt} left`]);
  }
  for (const { taskId: id, attempt, reason, failedAtMs, requeuedAtMs } of deadLetters) {
    if (id !== taskId) continue;
    events.push([failedAtMs, `buried with attempt ${attempt}: ${reason}`]);
    if (requeuedAtMs !== null) events.push([requeuedAtMs, 'requeued']);
  }
  const { status, queue, priority, kind } = task ?? {};
  const head =
    task === undefined
      ? 'no such row'
      : `now ${String(status)}; ${String(kind)}, queue ${String(queue)}, priority ${String(priority)}`;
  const around = disturbancesAround(events, evidence);
  return [
    head,
    ...[...events, ...around]
      .toSorted((a, b) => a[0] - b[0])
      .map(([at, text]) => `${new Date(at).toISOString()} ${text}`),
  ];
}

function disturbancesAround(
  events: readonly [number, string][],
  { disturbances, processes }: Evidence,
): [number, string][] {
  const times = events.map(([at]) => at);
  const fromMs = Math.min(...times) - 20_000;
  const toMs = Math.max(...times) + 1_000;
  const windows = [
    ...disturbances.map((window) => ({ ...window, who: window.what as string })),
    ...processes.flatMap(({ name, cutOff, exitedAtMs, endedBy }) => [
      ...cutOff.map((window) => ({ ...window, who: name })),
      ...(exitedAtMs === null
        ? []
        : [{ fromMs: exitedAtMs, toMs: exitedAtMs, fault: `ended (${endedBy ?? 'by itself'})`, who: name }]),
    ]),
  ];
  return windows
    .filter((window) => window.fromMs < toMs && window.toMs > fromMs)
    .map(({ fromMs: at, toMs: end, fault, who }) => [
      at,
      `(${who}: ${fault}${end === at ? '' : `, ${seconds(end - at)}`})`,
    ]);
}

function deathsOf(evidence: Evidence): Recovery[] {
  const reclaims = reclaimsOf(evidence);
  return [...Map.groupBy(reclaims, ({ fault }) => fault)].map(([fault, ofFault]) =>
    recovery(
      `${fault} of a worker (and the return of the stores), until its task is claimable`,
      ofFault.map(({ fromMs, countsFromMs, reclaimedMs }) =>
        reclaimedMs > countsFromMs ? reclaimedMs - countsFromMs : reclaimedMs - fromMs,
      ),
    ),
  );
}

/** Returns the times from the end of each fault of a store until the next task starts. */
function firstStartsAfter({ attempts }: Evidence, injected: Run['injected']): Recovery[] {
  const starts = [...attempts.values()]
    .flatMap((rows) => rows.map(({ startedAtMs }) => startedAtMs))
    .toSorted((a, b) => a - b);
  const ofStores = injected.filter(({ fault }) =>
    /redis|flushall|postgresql|standby|cluster|connections terminated|lock on tasks/i.test(fault),
  );
  return [
    ...Map.groupBy(
      ofStores.filter(({ target }) => target === null),
      ({ fault }) => fault,
    ),
  ].map(([fault, times]) =>
    recovery(
      `${fault}, until the first start`,
      times.flatMap(({ toMs }) => {
        const next = starts.find((at) => at >= toMs);
        return next === undefined ? [] : [next - toMs];
      }),
    ),
  );
}

function recovery(after: string, times: readonly number[]): Recovery {
  const sorted = times.toSorted((a, b) => a - b);
  return { after, times: sorted.length, p50Ms: sorted[sorted.length >> 1] ?? 0, maxMs: sorted.at(-1) ?? 0 };
}

function duplicatesOf(evidence: Evidence): Record<string, number> {
  const { executions, attempts, tasks } = evidence;
  const faultOf = new Map(reclaimsOf(evidence).map(({ taskId, attempt, fault }) => [`${taskId}:${attempt}`, fault]));
  const again = new Set<string>();
  for (const task of tasks) {
    const rows = attempts.get(task.id) ?? [];
    for (const { attempt, outcome } of isForgotten(task) ? rows : rows.slice(0, -1))
      if (outcome === 'LOST' || outcome === 'RELEASED') again.add(`${task.id}:${attempt}`);
  }
  const tokens = executions.map(({ taskId, attempt }) => `${taskId}:${attempt}`).filter((token) => again.has(token));
  return countBy(
    tokens.map((token) =>
      faultOf.has(token) ? `after ${faultOf.get(token)} of its worker` : 'released by its worker',
    ),
  );
}

function countBy(values: readonly string[]): Record<string, number> {
  return Object.fromEntries([...Map.groupBy(values, (value) => value)].map(([value, all]) => [value, all.length]));
}

function listOf(counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts)
    .map(([name, count]) => `${count} ${name}`)
    .join(', ');
}

function seconds(ms: number): string {
  return Number.isFinite(ms) ? `${(ms / 1_000).toFixed(1)} s` : 'to the end';
}
