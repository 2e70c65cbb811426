import type { Evidence, Execution, Interval, TaskRecord, Violation } from '../evidence.ts';
import { deadlineOf, disturbancesOf, waitsOf, type Wait } from '../intervals.ts';

interface Overtaken extends Wait {
  /** When a task of lower rank first started before it. */
  readonly sinceMs: number;
  /** The time from which no task of lower rank may start before it. */
  readonly owedMs: number;
}

/**
 * No task is overtaken by tasks of lower rank (priority, place, id) for longer than the bound of its queue. The time
 * counts from the first task that overtakes it, because a task may wait long while all workers are busy.
 */
export function orderIsKept(evidence: Evidence): Violation[] {
  return ofEachQueue(evidence, (queue, waits) => {
    const starts = waits.filter(({ startedMs }) => startedMs < Infinity).toSorted((a, b) => a.startedMs - b.startedMs);
    const boundMs = boundOf(evidence, queue);
    const deadline = deadlineOf(boundMs, whileOrderMayLag(evidence, queue, boundMs));
    const waiting = waits
      // Leave out tasks that the next loss would bury: they have to run without other suspects and may wait for that.
      .filter(({ lostBefore }) => lostBefore < evidence.bounds.lostCap - 1)
      .toSorted((a, b) => a.runnableMs - b.runnableMs);
    const ready: Wait[] = [];
    // This list is sorted by `owedMs`, because a later start never has an earlier deadline.
    const overtaken: Overtaken[] = [];
    const late: Overtaken[] = [];
    const violations: Violation[] = [];
    let nextReady = 0;
    let nextLate = 0;
    for (const { task, startedMs } of starts) {
      for (; nextLate < overtaken.length && (overtaken[nextLate] as Overtaken).owedMs < startedMs; nextLate++)
        push(late, overtaken[nextLate] as Overtaken);
      // Claims are in order, but two workers, or two rows of a batch, may write their starts in any order.
      dropStarted(late, startedMs + evidence.bounds.slackMs);
      const first = late[0];
      if (first !== undefined && rank(first.task, task) < 0) {
        pop(late);
        violations.push(overtakenTooLong(first, task, startedMs, boundMs));
      }
      for (; nextReady < waiting.length && (waiting[nextReady] as Wait).runnableMs < startedMs; nextReady++)
        push(ready, waiting[nextReady] as Wait);
      for (let passed = nextOvertaken(ready, task, startedMs); passed; passed = nextOvertaken(ready, task, startedMs))
        overtaken.push({ ...passed, sinceMs: startedMs, owedMs: deadline(startedMs) });
    }
    return violations;
  });
}

function overtakenTooLong({ task, runnableMs, sinceMs }: Overtaken, by: TaskRecord, nowMs: number, boundMs: number) {
  const since = `${Math.round(nowMs - sinceMs)} ms (bound ${boundMs} ms)`;
  const message = `runnable for ${Math.round(nowMs - runnableMs)} ms and overtaken in ${task.queue} for ${since}, now by ${by.id}, priority ${by.priority}`;
  return { invariant: 'orderIsKept', taskId: task.id, message };
}

function dropStarted(heap: Wait[], nowMs: number): void {
  while (heap[0] !== undefined && heap[0].startedMs <= nowMs) pop(heap);
}

/** Removes the first wait from the heap and returns it, if it ranks before the task that starts now. */
function nextOvertaken(ready: Wait[], starting: TaskRecord, nowMs: number): Wait | null {
  dropStarted(ready, nowMs);
  const first = ready[0];
  if (first === undefined || rank(first.task, starting) >= 0) return null;
  pop(ready);
  return first;
}

/** A queue with runnable tasks and a healthy worker does not stand still, because workers take their queues in turn. */
export function queuesDoNotStandStill(evidence: Evidence): Violation[] {
  return ofEachQueue(evidence, (queue, waits) => {
    const boundMs = evidence.bounds.recoveryMs + evidence.bounds.slackMs;
    const deadline = deadlineOf(boundMs, disturbancesOf(evidence, queue));
    const starts = waits
      .map(({ startedMs }) => startedMs)
      .filter((ms) => ms < Infinity)
      .toSorted((a, b) => a - b);
    const late = waits.filter(({ runnableMs, startedMs }) => startedMs < Infinity && startedMs > deadline(runnableMs));
    return late.flatMap(({ task, runnableMs, startedMs }) => {
      const before = previous(starts, startedMs);
      // Any outage since the queue's last start explains a pause, not only one since the task became runnable.
      if (startedMs <= deadline(Math.max(deadline(runnableMs), before))) return [];
      const message = `${queue} stood still for ${Math.round(startedMs - Math.max(before, runnableMs))} ms with this task runnable`;
      return [{ invariant: 'queuesDoNotStandStill', taskId: task.id, message }];
    });
  });
}

/** A worker never runs more handlers than it has slots. */
export function slotsAreNotExceeded({ executions, processes }: Evidence): Violation[] {
  const byPid = Map.groupBy(executions, ({ pid }) => pid);
  return processes.flatMap(({ pid, name, slots, exitedAtMs }) => {
    const ofProcess = byPid.get(pid) ?? [];
    const most = mostAtOnce(ofProcess, exitedAtMs ?? Infinity);
    if (most <= slots) return [];
    return [
      { invariant: 'slotsAreNotExceeded', taskId: null, message: `${name} ran ${most} handlers in ${slots} slots` },
    ];
  });
}

function mostAtOnce(executions: readonly Execution[], endMs: number): number {
  const changes = executions.flatMap(({ enteredAtMs, leftAtMs }) => [
    { atMs: enteredAtMs, by: 1 },
    { atMs: leftAtMs ?? endMs, by: -1 },
  ]);
  changes.sort((a, b) => a.atMs - b.atMs || a.by - b.by);
  let running = 0;
  let most = 0;
  for (const { by } of changes) most = Math.max(most, (running += by));
  return most;
}

function ofEachQueue(evidence: Evidence, check: (queue: string, waits: Wait[]) => Violation[]): Violation[] {
  return [...Map.groupBy(waitsOf(evidence), ({ task }) => task.queue)].flatMap(([queue, waits]) => check(queue, waits));
}

/**
 * Returns the times in which the order may lag. A bound below the recovery bound holds only in undisturbed times: if an
 * entry does not get from an API to Redis, reconcile finds it, but only within the recovery bound.
 */
function whileOrderMayLag(evidence: Evidence, queue: string, boundMs: number): Interval[] {
  const disturbances = disturbancesOf(evidence, queue);
  const { recoveryMs } = evidence.bounds;
  if (boundMs >= recoveryMs) return disturbances;
  const ofApis = evidence.processes
    .filter(({ kind }) => kind === 'api')
    .flatMap(({ cutOff, exitedAtMs }) => [
      ...cutOff,
      ...(exitedAtMs === null ? [] : [{ fromMs: exitedAtMs, toMs: exitedAtMs }]),
    ]);
  return [...disturbances, ...ofApis].map(({ fromMs, toMs }) => ({
    fromMs: fromMs - boundMs,
    toMs: toMs + recoveryMs,
  }));
}

function boundOf({ bounds }: Evidence, queue: string): number {
  return (bounds.overtakingMs[queue] ?? bounds.recoveryMs) + bounds.slackMs;
}

/** Returns a negative number if `a` runs before `b`. */
function rank(a: TaskRecord, b: TaskRecord): number {
  return a.priority - b.priority || a.placeMs - b.placeMs || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0);
}

/** Returns the latest of the sorted times before `ms`, or 0. */
function previous(times: readonly number[], ms: number): number {
  let low = 0;
  let high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((times[middle] as number) < ms) low = middle + 1;
    else high = middle;
  }
  return times[low - 1] ?? 0;
}

/** Adds to a binary heap that has the smallest rank first. */
function push(heap: Wait[], item: Wait): void {
  heap.push(item);
  for (let i = heap.length - 1; i > 0;) {
    const parent = (i - 1) >> 1;
    if (rank((heap[parent] as Wait).task, (heap[i] as Wait).task) <= 0) return;
    swap(heap, i, parent);
    i = parent;
  }
}

function pop(heap: Wait[]): void {
  swap(heap, 0, heap.length - 1);
  heap.pop();
  for (let i = 0; ;) {
    let least = i;
    for (const child of [2 * i + 1, 2 * i + 2]) {
      if (child < heap.length && rank((heap[child] as Wait).task, (heap[least] as Wait).task) < 0) least = child;
    }
    if (least === i) return;
    swap(heap, i, least);
    i = least;
  }
}

function swap(heap: Wait[], i: number, j: number): void {
  [heap[i], heap[j]] = [heap[j] as Wait, heap[i] as Wait];
}
