import type { Evidence, LogEntry, ProcessRecord, Violation } from '../evidence.ts';
import { KILLERS } from './recovery.ts';

/** After the last fault, all tasks end without help, and nothing is left over. */
export function systemComesToRest({ rest }: Evidence): Violation[] {
  const messages: string[] = [];
  if (rest.settledAfterMs === null) messages.push('tasks were still open at the timeout');
  for (const left of rest.leftInRedis) messages.push(`left in Redis: ${left}`);
  for (const count of rest.countsThatDisagree) messages.push(`counts disagree: ${count}`);
  if (rest.connectionsLeft > 0) messages.push(`${rest.connectionsLeft} connections to PostgreSQL were left behind`);
  return messages.map((message) => ({ invariant: 'systemComesToRest', taskId: null, message }));
}

/** A process ends only on request, and with code 0. */
export function processesEndCleanly(evidence: Evidence): Violation[] {
  return evidence.processes.flatMap((process) => {
    if (process.exit === null) return [];
    const { name, pid, exit, endedBy } = process;
    const how = `${name} (${pid}) ended with ${exit.code ?? exit.signal}`;
    if (exit.code === 0 && endedBy !== null) return [];
    if (wasEndedByItsTask(process, evidence)) return [];
    if (endedBy === null) return [found(`${how} without a request`)];
    const asked = endedBy === 'SIGTERM' || endedBy === 'end of the run';
    return asked && !endedWithoutPostgres(process, evidence) ? [found(`${how} after ${endedBy}`)] : [];
  });

  function found(message: string): Violation {
    return { invariant: 'processesEndCleanly', taskId: null, message };
  }
}

/** Returns whether PostgreSQL was down at the end. Then a worker cannot write its last outcomes and exits with 1. */
function endedWithoutPostgres({ exitedAtMs, cutOff }: ProcessRecord, { disturbances }: Evidence): boolean {
  const endMs = exitedAtMs ?? Infinity;
  const outages = [
    ...disturbances.filter(({ what }) => what === 'postgresql'),
    ...cutOff.filter(({ fault }) => fault.startsWith('postgresql')),
  ];
  return outages.some(({ fromMs, toMs }) => fromMs < endMs && toMs > endMs - LAST_MOMENTS_MS);
}

/** The longest time that a worker takes to end, including the grace period. */
const LAST_MOMENTS_MS = 10_000;

function wasEndedByItsTask({ pid }: ProcessRecord, { executions, tasks }: Evidence): boolean {
  const open = executions.filter((execution) => execution.pid === pid && execution.leftAtMs === null);
  const ids = new Set(open.map(({ taskId }) => taskId));
  return tasks.some(({ id, kind }) => ids.has(id) && KILLERS.has(kind ?? ''));
}

/** Errors that the run itself causes: stray errors of handlers, a blocked event loop, a handler that exits. */
const EXPECTED_ERRORS = new Set([
  'error outside of any handler call',
  'main loop stands still beyond a deadline, killing the process',
  'the process exits, but the worker did not request it',
]);

/** The error level is used only for problems that an operator has to act on, so a run logs none. */
export function errorsNeedAction(evidence: Evidence): Violation[] {
  return evidence.processes.flatMap((process) => {
    const { name, pid, log } = process;
    const isExpected = ({ msg }: LogEntry): boolean =>
      EXPECTED_ERRORS.has(msg) || (msg === 'service did not stop cleanly' && endedWithoutPostgres(process, evidence));
    const errors = log.filter((entry) => (entry.level === 'error' || entry.level === 'fatal') && !isExpected(entry));
    return [...Map.groupBy(errors, ({ msg }) => msg)].map(([msg, entries]) => ({
      invariant: 'errorsNeedAction',
      taskId: null,
      message: `${name} (${pid}) logged ${entries.length} × ${String(entries[0]?.level)} "${msg}": ${describe(entries[0])}`,
    }));
  });
}

/** Warnings that are logged by design once per lost or overrunning attempt. All others have to be rare. */
const ONE_A_TASK = new Set([
  'outcome refused, the attempt is no longer the latest',
  'task no longer belongs to this worker, telling its handler',
  'handler returned after its attempt was settled',
  'handler goes on after its time limit: it keeps its slot until it returns, and a new attempt may run beside it',
]);
/** The most lines of one message in ten minutes, or in a shorter life of a process. */
const RARE_LINES_MOST = 100;
const TEN_MINUTES_MS = 600_000;

/** An outage causes one log line, not one per call or task. */
export function outagesAreLoggedOnce({ processes, disturbances }: Evidence): Violation[] {
  return processes.flatMap(({ name, pid, log, startedAtMs, exitedAtMs, cutOff }) => {
    const warnings = log.filter(({ level }) => level === 'warn');
    const windows = [...disturbances, ...cutOff].filter(
      ({ fromMs, toMs }) => fromMs < (exitedAtMs ?? Infinity) && toMs > startedAtMs,
    );
    const lifeMs = (log.at(-1)?.atMs ?? startedAtMs) - startedAtMs;
    const rareMost = RARE_LINES_MOST * Math.max(1, lifeMs / TEN_MINUTES_MS);
    const violations: Violation[] = [];
    for (const [msg, entries] of Map.groupBy(warnings, (entry) => entry.msg)) {
      const most = msg === 'store does not answer' ? 2 + 4 * windows.length : rareMost;
      if (ONE_A_TASK.has(msg) || entries.length <= most) continue;
      const message = `${name} (${pid}) logged ${entries.length} × "${msg}" in ${windows.length} disturbances`;
      violations.push({ invariant: 'outagesAreLoggedOnce', taskId: null, message });
    }
    return violations;
  });
}

function describe(entry: LogEntry | undefined): string {
  return JSON.stringify(entry?.fields['err'] ?? entry?.fields ?? null).slice(0, 400);
}
