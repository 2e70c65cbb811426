import { StoreUnavailableError } from '../../core/errors.ts';
import { codeIn } from '../../core/recorded-error.ts';
import type { AttemptOutcome } from '../../core/task.ts';
import type { TaskQueue } from '../order/task-queue.ts';
import type { SettleResult } from './attempt-store.ts';
import { logTogether, withoutRedaction, type Logger } from '../../telemetry/logger.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import type { OpenOutcome } from './open-outcome.ts';

export interface SettledOutcome {
  readonly open: OpenOutcome;
  readonly result: SettleResult;
}

type WrittenVerb = NonNullable<SettleResult['verb']>;

/** The outcome that a verb writes, as metrics and log name it. */
const OUTCOME_NAMES: Readonly<Record<WrittenVerb, Lowercase<AttemptOutcome>>> = {
  complete: 'completed',
  retry: 'retried',
  fail: 'failed',
  abort: 'cancelled',
  release: 'released',
};

export interface AftermathParts {
  readonly workerId: string;
  readonly queue: Pick<TaskQueue, 'settle' | 'release'>;
  readonly metrics: Metrics;
  readonly log: Logger;
}

/**
 * What follows when PostgreSQL has judged outcomes: Redis is brought into line,
 * and each outcome is counted and logged once. `already` counts too: it says that
 * this worker wrote it before, in a statement whose answer was lost.
 */
export function createAftermath(parts: AftermathParts): (settled: readonly SettledOutcome[]) => void {
  const reporting = { metrics: parts.metrics, log: withoutRedaction(parts.log) };
  return (settled) => {
    for (const [queue, outcomes] of Map.groupBy(settled, ({ open }) => open.queue))
      void updateQueue(parts, queue, outcomes);
    logTogether(reporting.log, () => {
      for (const outcome of settled) report(reporting, outcome);
    });
  };
}

/** Never rejects: what Redis misses, reconcile puts right. */
async function updateQueue(parts: AftermathParts, queue: string, outcomes: readonly SettledOutcome[]): Promise<void> {
  const { workerId, log } = parts;
  const written = outcomes.filter(({ result }) => result.verdict !== 'stale' && result.verb !== 'release');
  // A stale outcome may only take its own claim out of flight; the script leaves a successor's alone.
  const returned = outcomes.filter(({ result }) => result.verdict === 'stale' || result.verb === 'release');
  try {
    await Promise.all([
      written.length > 0 && parts.queue.settle(queue, workerId, written.map(settledMember)),
      returned.length > 0 &&
        parts.queue.release(
          queue,
          workerId,
          returned.map(({ open, result }) => ({
            position: open.position,
            waitMs: result.verdict === 'stale' ? null : 0,
          })),
        ),
    ]);
  } catch (error) {
    if (!(error instanceof StoreUnavailableError))
      log.error({ err: error, queue }, 'settled in PostgreSQL, but not in Redis');
  }
}

function settledMember({ open, result }: SettledOutcome) {
  const { outcome } = open.settlement;
  const verb = result.verb as WrittenVerb;
  const waitMs = verb === 'retry' && outcome.verb === 'retry' ? outcome.delayMs : 0;
  return { position: open.position, verb, waitMs };
}

function report({ metrics, log }: Pick<AftermathParts, 'metrics' | 'log'>, { open, result }: SettledOutcome): void {
  const { outcome } = open.settlement;
  if (result.verdict === 'stale' || result.verb === null) {
    metrics.staleSettles.inc();
    log.warn(
      { ...open.logFields, action: open.action, verb: outcome.verb },
      'outcome refused, the attempt is no longer the latest',
    );
    return;
  }
  const name = OUTCOME_NAMES[result.verb];
  const queue = metrics.queueLabel(open.queue);
  const action = open.action === null ? 'none' : metrics.actionLabel(open.action);
  metrics.tasksSettled.inc({ queue, action, outcome: name });
  if (open.runMs !== null) metrics.taskRun.observe({ queue, outcome: name }, open.runMs / 1_000);
  // What is undefined is left out of the line.
  const line = {
    ...open.logFields,
    action: open.action,
    outcome: name,
    wait_ms: open.waitedMs === null ? undefined : Math.round(open.waitedMs),
    run_ms: open.runMs === null ? undefined : Math.round(open.runMs),
    retry_in_ms: result.verb === 'retry' && outcome.verb === 'retry' ? outcome.delayMs : undefined,
    // Not the message: it is the handler's own text and may hold parts of the payload. It stands in the execution log.
    error_code: 'error' in outcome ? (codeIn(outcome.error) ?? outcome.error.name) : undefined,
  };
  log.info(line, 'attempt settled');
}
