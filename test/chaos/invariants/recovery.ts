import type { AttemptRecord, Evidence, Interval, ProcessRecord, Violation } from '../evidence.ts';
import { deadlineOf } from '../intervals.ts';

/** How long it took until the runs of a dead or silent worker were given up. */
export interface Reclaim {
  readonly taskId: string;
  readonly attempt: number;
  readonly fault: string;
  /** When the worker fell silent. */
  readonly fromMs: number;
  readonly reclaimedMs: number;
  /** From when on the bound counts: the silence, or the end of an outage of the stores that fell into it. */
  readonly countsFromMs: number;
  /** By when it had to be done. */
  readonly deadlineMs: number;
}

export function reclaimsOf({ attempts, processes, disturbances, bounds }: Evidence): Reclaim[] {
  const byWorker = new Map(processes.map((process) => [process.workerId, process]));
  // Only without the stores does time not count: the bound leaves room for a sweeper that dies.
  const relevant = disturbances.filter(({ what }) => what === 'redis' || what === 'postgresql');
  const deadline = deadlineOf(bounds.recoveryMs, relevant);
  const reclaims: Reclaim[] = [];
  for (const [taskId, rows] of attempts) {
    for (const row of rows) {
      const silence = row.outcome === 'LOST' ? silenceBefore(row, byWorker.get(row.workerId)) : null;
      if (silence === null || row.finishedAtMs === null) continue;
      // What was claimed before the silence may have been started in it: by a statement that was on its way.
      const fromMs = Math.max(silence.fromMs, row.startedAtMs);
      const deadlineMs = deadline(fromMs) + bounds.slackMs;
      reclaims.push({
        taskId,
        attempt: row.attempt,
        fault: silence.fault,
        fromMs,
        reclaimedMs: row.finishedAtMs,
        countsFromMs: deadlineMs - bounds.slackMs - bounds.recoveryMs,
        deadlineMs,
      });
    }
  }
  return reclaims;
}

/** A dead worker's task is claimable again in time, counted from the end of what disturbed the stores. */
export function deadWorkersAreReclaimedInTime(evidence: Evidence): Violation[] {
  return reclaimsOf(evidence)
    .filter(({ reclaimedMs, deadlineMs }) => reclaimedMs > deadlineMs)
    .map(({ taskId, attempt, fault, fromMs, reclaimedMs, deadlineMs }) => ({
      invariant: 'deadWorkersAreReclaimedInTime',
      taskId,
      message: `attempt ${attempt} was reclaimed ${Math.round(reclaimedMs - fromMs)} ms after ${fault}, due after ${Math.round(deadlineMs - fromMs)} ms`,
    }));
}

/** Innocents beside a task that kills its workers do not end in the dead letters for it, each time beside the same one. */
export function innocentsSurvivePills(evidence: Evidence): Violation[] {
  const { tasks, deadLetters, attempts } = evidence;
  const kindOf = new Map(tasks.map(({ id, kind }) => [id, kind ?? '']));
  const killersOf = killersByWorker(evidence, (taskId) => KILLERS.has(kindOf.get(taskId) ?? ''));
  return deadLetters.flatMap(({ taskId, reason }) => {
    if (reason !== 'lost_cap' || KILLERS.has(kindOf.get(taskId) ?? '')) return [];
    const lost = (attempts.get(taskId) ?? []).filter(({ outcome }) => outcome === 'LOST');
    // Where several things killed its workers, we among them, no rule could have saved it.
    const [first, ...others] = lost.map(({ workerId }) => killersOf.get(workerId) ?? new Set<string>());
    const alwaysThere = [...(first ?? [])].filter((killer) => others.every((killers) => killers.has(killer)));
    if (alwaysThere.length === 0) return [];
    const message = `it was buried for the deaths that ${alwaysThere[0]} caused`;
    return [{ invariant: 'innocentsSurvivePills', taskId, message }];
  });
}

/** Of each worker that ended by itself, the killers that ran in it then. */
function killersByWorker({ executions, processes }: Evidence, isKiller: (taskId: string) => boolean) {
  const killers = executions.filter(({ taskId, leftAtMs }) => leftAtMs === null && isKiller(taskId));
  const byPid = Map.groupBy(killers, ({ pid }) => pid);
  return new Map(
    processes
      .filter(({ endedBy, exitedAtMs }) => endedBy === null && exitedAtMs !== null)
      .map(({ workerId, pid }) => [workerId, new Set((byPid.get(pid) ?? []).map(({ taskId }) => taskId))] as const),
  );
}

/** What the kinds of tasks are that may end their process. */
export const KILLERS: ReadonlySet<string> = new Set(['pill', 'leak', 'blocks-for-good']);

function silenceBefore(row: AttemptRecord, worker: ProcessRecord | undefined): (Interval & { fault: string }) | null {
  if (worker === undefined || row.finishedAtMs === null) return null;
  const silences = [...worker.cutOff];
  if (worker.exitedAtMs !== null) {
    silences.push({ fromMs: worker.exitedAtMs, toMs: Infinity, fault: worker.endedBy ?? 'its own end' });
  }
  const before = silences.filter(({ fromMs }) => fromMs <= (row.finishedAtMs as number));
  // The one that lasted: a short one before it has nothing to do with it.
  return before.toSorted((a, b) => a.toMs - b.toMs || a.fromMs - b.fromMs).at(-1) ?? null;
}
