import { storableText, StoreUnavailableError } from '../../../core/errors.ts';
import type { TaskQueue } from '../../order/task-queue.ts';
import type { Presence, Silence } from '../../presence/presence.ts';
import type { DutyContext } from '../duty.ts';
import { PassEndedError, type Pass } from '../lease.ts';
import { endLostClaims, findClaims } from '../reconcile/claims.ts';
import type { SweptQueue } from '../reconcile/findings.ts';
import type { ReconcileParts } from '../reconcile/reconcile-context.ts';
import { isLate, isWorthAsking } from '../watch.ts';
import { findGone, podOf, type PodEvidence } from './pod-evidence.ts';
import type { ReclaimedTask, ReclaimStore } from './reclaim-store.ts';

export interface ReclaimParts extends ReconcileParts {
  readonly reclaims: ReclaimStore;
  readonly presence: Presence;
  readonly queue: ReconcileParts['queue'] & Pick<TaskQueue, 'release'>;
  /** Set if the Kubernetes API can be asked. */
  readonly pods?: PodEvidence | undefined;
}

/** The arguments of the duty. */
export interface ReclaimDuty extends DutyContext, ReclaimParts {
  readonly queue: ReclaimParts['queue'];
}

/** A worker that is presumed dead, and the evidence. */
export interface Dead extends Silence {
  readonly evidence: 'silence' | 'successor' | 'pod';
  /** How it ended, if the Kubernetes API told. */
  readonly how?: string;
}

/**
 * Takes back everything that dead workers hold, in both stores. If the pass could not look at the queues, it takes back
 * only what PostgreSQL knows, and a later pass does the rest.
 */
export async function reclaim(context: ReclaimDuty, pass: Pass): Promise<void> {
  const { queues, claims } = context.findings;
  const candidates = new Set([...(await context.reclaims.processingWorkers()), ...(claims?.holders ?? [])]);
  const silences = await context.presence.silences([...candidates]);
  const dead = judge(silences, candidates, context.settings);
  const held = silences.filter(({ workerId }) => candidates.has(workerId));
  const late = held.filter((silence) => isLate(silence, context.settings));
  pass.result.silent = late.length > 0;
  pass.result.inTime = held
    .filter((silence) => !isWorthAsking(silence, context.settings))
    .map(({ workerId }) => workerId);

  const forgotten = silences.filter(
    ({ workerId, silentMs }) => !candidates.has(workerId) && silentMs >= context.limits.registryForgetMs,
  );
  if (dead.length > 0) forgotten.push(...(await reclaimAll(context, pass, queues ?? [], dead)));
  // The next passes will ask about workers that are late now. Load the Kubernetes client in the meantime.
  if (late.length > 0) void context.pods?.prepare();
  // Ask after reclaiming from workers that need no question: an API that does not answer must not delay that.
  const known = new Set(dead.map(({ workerId }) => workerId));
  const unsure = late.filter((silence) => !known.has(silence.workerId) && isWorthAsking(silence, context.settings));
  const gone = (await findGone(context, pass, unsure)).map((silence): Dead => ({ ...silence, evidence: 'pod' }));
  if (gone.length > 0) forgotten.push(...(await reclaimAll(context, pass, queues ?? [], gone)));
  // A worker may hold claims that this pass could not look at. It has to stay in the registry then.
  if (queues !== null && claims !== null) await context.presence.forget(forgotten);
}

/** Takes back what dead workers hold. @returns the workers that hold nothing any more */
async function reclaimAll(
  context: ReclaimDuty,
  pass: Pass,
  queues: readonly SweptQueue[],
  dead: readonly Dead[],
): Promise<Silence[]> {
  const failures: unknown[] = [];
  for (const worker of dead) {
    try {
      await reclaimWorker(context, pass, worker);
    } catch (error) {
      // If PostgreSQL refuses the tasks of one worker, still reclaim those of the others.
      if (error instanceof PassEndedError || error instanceof StoreUnavailableError) throw error;
      failures.push(error);
    }
  }
  // Take back the tasks that they claimed and never started.
  const { claims } = await findClaims(
    context,
    pass,
    queues,
    dead.map(({ workerId }) => workerId),
  );
  for (const ofQueue of claims) await endLostClaims(context, pass, ofQueue.queue, ofQueue.claims);
  if (failures.length > 0) throw failures[0];
  // Rows that were being settled were skipped. Their worker stays a candidate.
  const left = new Set(await context.reclaims.processingWorkers());
  return dead.filter(({ workerId }) => !left.has(workerId));
}

/**
 * Returns the workers among the candidates that are presumed dead: a worker that has been silent for longer than the
 * time to live, or that has missed a beat while a later process of the same pod has beaten.
 */
export function judge(
  silences: readonly Silence[],
  candidates: ReadonlySet<string>,
  settings: { readonly HEARTBEAT_TTL: number; readonly HEARTBEAT_INTERVAL: number },
): Dead[] {
  const latestOfPod = new Map<string, number>();
  for (const { workerId, lastBeatMs } of silences) {
    const pod = podOf(workerId);
    if (pod !== null && lastBeatMs !== null) latestOfPod.set(pod, Math.max(latestOfPod.get(pod) ?? 0, lastBeatMs));
  }
  const hasSuccessor = ({ workerId, lastBeatMs }: Silence): boolean => {
    const pod = podOf(workerId);
    return pod !== null && (latestOfPod.get(pod) ?? 0) > (lastBeatMs ?? 0);
  };
  return silences.flatMap((silence): Dead[] => {
    if (!candidates.has(silence.workerId)) return [];
    if (silence.silentMs > settings.HEARTBEAT_TTL) return [{ ...silence, evidence: 'silence' }];
    // Two living workers may share a pod. Only a missed beat tells a dead predecessor from a living neighbour.
    if (hasMissedABeat(silence, settings.HEARTBEAT_INTERVAL) && hasSuccessor(silence))
      return [{ ...silence, evidence: 'successor' }];
    return [];
  });
}

function hasMissedABeat({ silentMs }: Silence, intervalMs: number): boolean {
  return silentMs > 1.5 * intervalMs;
}

async function reclaimWorker(context: ReclaimDuty, pass: Pass, worker: Dead): Promise<void> {
  const { limits, settings, log } = context;
  const why = await whyEnded(context, worker);
  const ended = why === null ? 'fell silent while it ran the attempt' : `ended while it ran the attempt: ${why}`;
  const error = JSON.stringify({
    name: 'WorkerLostError',
    code: 'worker_lost',
    message: storableText(`worker ${worker.workerId} ${ended}`, MESSAGE_LIMIT),
  });
  let total = 0;
  for (;;) {
    await pass.keep();
    const tasks = await context.reclaims.reclaim(
      pass.grant,
      worker.workerId,
      settings.LOST_CAP,
      limits.batchRows,
      error,
    );
    total += tasks.length;
    count(pass, tasks);
    for (const { position, verb, queue, attempt, lost, traceId } of tasks) {
      const fields = {
        trace_id: traceId,
        task_id: position.id,
        queue,
        attempt,
        lost,
        verb,
        dead_worker_id: worker.workerId,
      };
      if (verb === 'fail') log.warn(fields, 'task lost too often, now in the dead letters');
      else log.info(fields, 'task reclaimed');
    }
    await returnToRedis(context, worker.workerId, tasks);
    if (tasks.length < limits.batchRows) break;
  }
  const { workerId, silentMs, evidence } = worker;
  if (total > 0)
    log.warn(
      { dead_worker_id: workerId, silentMs, evidence, tasks: total, ...(why === null ? {} : { why }) },
      'worker presumed dead, its tasks were reclaimed',
    );
}

/** Most characters of the message about a worker's end. */
const MESSAGE_LIMIT = 1_000;

/** Returns why the worker ended: its own last words and what Kubernetes tells; null if neither is known. */
async function whyEnded({ presence }: ReclaimDuty, { workerId, how }: Dead): Promise<string | null> {
  const words = await presence.lastWords(workerId);
  const told = [words?.message, how].filter((text) => text !== undefined);
  return told.length === 0 ? null : told.join('; ');
}

/** Releases the claims in Redis as the worker itself would. Claims that no longer belong to the worker are kept. */
async function returnToRedis(context: ReclaimDuty, workerId: string, tasks: readonly ReclaimedTask[]): Promise<void> {
  for (const [queue, ofQueue] of Map.groupBy(tasks, (task) => task.queue)) {
    const returned = ofQueue.map(({ position, verb }) => ({ position, waitMs: verb === 'reclaim' ? 0 : null }));
    await context.queue.release(queue, workerId, returned);
  }
}

function count({ result }: Pass, tasks: readonly ReclaimedTask[]): void {
  for (const { verb } of tasks) {
    if (verb === 'reclaim') result.reclaimed++;
    else if (verb === 'fail') result.buried++;
    else result.cancelled++;
  }
}
