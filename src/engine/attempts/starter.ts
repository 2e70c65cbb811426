import type { Config } from '../../config/env.ts';
import { REFUSED_START_DELAY_MS } from '../../config/timings.ts';
import { StoreUnavailableError } from '../../core/errors.ts';
import type { StartRefusal } from '../../core/outcome.ts';
import { idOfMember, memberOf, positionOf } from '../../core/priority.ts';
import type { StartedTask } from '../../core/task.ts';
import type { DurationSeries } from '../../telemetry/durations.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import type { Returned, TaskQueue } from '../order/task-queue.ts';
import type { StartResult, AttemptStore } from './attempt-store.ts';
import type { Slots } from './slots.ts';

/** Turns claimed members into running attempts. A few batches run at the same time. */
export interface Starter {
  /**
   * Begins to start claimed members, and reserves their slots at once. No member is forgotten, even if its start fails.
   * Never throws: `untilLane` reports errors.
   */
  begin(queue: string, members: readonly string[], signal: AbortSignal): void;
  /**
   * Resolves when another batch may begin.
   * @throws the first error of a batch since the last call
   */
  untilLane(): Promise<void>;
  /** Resolves when no batch is running. Never rejects. */
  untilIdle(): Promise<void>;
  /** Whether the start of a task is in progress. */
  isStarting(id: string): boolean;
}

export interface StarterParts {
  readonly workerId: string;
  readonly config: Pick<Config, 'LOST_CAP'>;
  readonly store: Pick<AttemptStore, 'start'>;
  readonly queue: Pick<TaskQueue, 'release'>;
  readonly slots: Slots;
  readonly execute: (task: StartedTask, waitedMs: number) => void;
  /** Hands back a task that was started after the worker had been told to stop. */
  readonly release: (task: StartedTask) => void;
  readonly metrics: Pick<Metrics, 'startsRefused' | 'taskWait' | 'queueLabel'>;
  readonly log: Logger;
}

/** Number of batches that start at the same time: while PostgreSQL writes one, the next one is being sent. */
export const START_LANES = 3;

export function createStarter(parts: StarterParts): Starter {
  const { workerId, store, slots, log } = parts;
  const { LOST_CAP: lostCap } = parts.config;
  /** The ids of each batch that is being started. */
  const starting = new Set<ReadonlySet<string>>();
  const underWay = new Set<Promise<void>>();
  let failure: { readonly error: unknown } | null = null;
  /** True while one batch may start a suspect. Other batches may not start one meanwhile. */
  let suspectAsked = false;

  const start = async (queue: string, members: readonly string[], signal: AbortSignal): Promise<Returned[]> => {
    // A task that was moved may still be in Redis under its old place too. Two equal ids in one statement would start
    // the task twice.
    const batch = new Set<string>();
    for (const member of members) {
      const id = idOfMember(member);
      if (id === null) log.error({ queue }, 'a member of the queue names no task');
      else batch.add(id);
    }
    const ids = [...batch];
    const endReservation = slots.reserve(ids.length);
    const suspectAllowed = !suspectAsked && !slots.hasSuspect(lostCap);
    if (suspectAllowed) suspectAsked = true;
    starting.add(batch);
    try {
      return takeUp(parts, members, await store.start(ids, workerId, lostCap, suspectAllowed), signal);
    } finally {
      // This runs in the same turn of the event loop in which the attempts begin. The holdings therefore see each task
      // either as starting or as running, and its slot is never free in between.
      starting.delete(batch);
      if (suspectAllowed) suspectAsked = false;
      endReservation();
    }
  };

  const startOrGiveBack = async (queue: string, members: readonly string[], signal: AbortSignal): Promise<void> => {
    const giveBack = (waitMs: number): Promise<void> => putBack(parts, queue, returnedOf(members, waitMs));
    if (signal.aborted) return giveBack(0);
    let returned: Returned[];
    try {
      returned = await start(queue, members, signal);
    } catch (error) {
      // PostgreSQL may have started the tasks although the answer failed. The holdings then find their rows.
      await giveBack(error instanceof StoreUnavailableError ? 0 : REFUSED_START_DELAY_MS);
      throw error;
    }
    await putBack(parts, queue, returned);
  };

  return {
    begin(queue, members, signal) {
      const batch = startOrGiveBack(queue, members, signal)
        .catch((error: unknown) => {
          failure ??= { error };
        })
        .finally(() => underWay.delete(batch));
      underWay.add(batch);
    },
    async untilLane() {
      while (underWay.size >= START_LANES) await Promise.race(underWay);
      const failed = failure;
      failure = null;
      if (failed !== null) throw failed.error;
    },
    async untilIdle() {
      while (underWay.size > 0) await Promise.all(underWay);
    },
    isStarting: (id) => starting.values().some((batch) => batch.has(id)),
  };
}

/** Executes the tasks that were started. @returns the members to give back or to drop */
function takeUp(
  { metrics, execute, release }: StarterParts,
  members: readonly string[],
  results: readonly StartResult[],
  signal: AbortSignal,
): Returned[] {
  const returned: Returned[] = [];
  const membersOf = grouping(members);
  let queue: string | undefined;
  let waits: DurationSeries | undefined;
  results.forEach((result, i) => {
    if (result.verdict !== 'started') {
      metrics.startsRefused.inc({ reason: result.verdict });
      returned.push(...returnedOf(membersOf(result.id), waitAfter(result.verdict, result.waitMs)));
      return;
    }
    const { task, waitedMs } = result;
    if (waits === undefined || task.queue !== queue) {
      ({ queue } = task);
      waits = metrics.taskWait.labels({ queue: metrics.queueLabel(queue) });
    }
    waits.observe(waitedMs / 1_000);
    if (signal.aborted) release(task);
    else execute(task, waitedMs);
    // The member with the place from the row is the valid one. Drop members with an old place.
    const member = memberOf(task);
    if (members.length === results.length && members[i] === member) return;
    const old = membersOf(task.id).filter((other) => other !== member);
    returned.push(...returnedOf(old, null));
  });
  return returned;
}

/** Returns a function that finds the members of a task. Few batches need it: usually each task has its one member. */
function grouping(members: readonly string[]): (id: string) => readonly string[] {
  let ofTask: Map<string | null, string[]> | undefined;
  return (id) => {
    ofTask ??= Map.groupBy(members, idOfMember);
    return ofTask.get(id) ?? [];
  };
}

/** Members that name no task are left out. */
function returnedOf(members: readonly string[], waitMs: number | null): Returned[] {
  const positions = members.map(positionOf).filter((position) => position !== null);
  return positions.map((position): Returned => ({ position, waitMs }));
}

/**
 * Gives members back. Does not reject during an outage of Redis, because reconcile finds claims that were not
 * started.
 */
async function putBack({ queue, workerId }: StarterParts, name: string, returned: readonly Returned[]): Promise<void> {
  if (returned.length === 0) return;
  try {
    await queue.release(name, workerId, returned);
  } catch (error) {
    if (!(error instanceof StoreUnavailableError)) throw error;
  }
}

/** Milliseconds until a refused task may be claimed again; null drops it. */
function waitAfter(refusal: StartRefusal, waitMs: number): number | null {
  if (refusal === 'gone') return null;
  return refusal === 'early' ? waitMs : REFUSED_START_DELAY_MS;
}
