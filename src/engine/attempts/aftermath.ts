import { StoreUnavailableError } from '../../core/errors.ts';
import { codeIn } from '../../core/recorded-error.ts';
import type { AttemptOutcome } from '../../core/task.ts';
import { logTogether, withoutRedaction, type Logger } from '../../telemetry/logger.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import type { TaskQueue } from '../order/task-queue.ts';
import type { SettleResult } from './attempt-store.ts';
import type { OpenOutcome } from './open-outcome.ts';

export interface SettledOutcome {
  readonly open: OpenOutcome;
  readonly result: SettleResult;
}

type WrittenVerb = NonNullable<SettleResult['verb']>;

/** The name of each verb's outcome in metrics and logs. */
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
 * Returns a function to call after PostgreSQL has judged outcomes: it updates Redis, and counts and logs each outcome
 * once. An `already` verdict counts too: this worker wrote that outcome in an earlier statement whose answer was lost.
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

/** Updates Redis. Never rejects, because reconcile repairs what Redis misses. */
async function updateQueue(parts: AftermathParts, queue: string, outcomes: readonly SettledOutcome[]): Promise<void> {
  const { workerId, log } = parts;
  const written = outcomes.filter(({ result }) => result.verdict !== 'stale' && result.verb !== 'release');
  // A stale outcome may only remove its own claim. The script leaves the claim of a successor alone.
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
  // The logger leaves out fields that are undefined.
  const line = {
    ...open.logFields,
    action: open.action,
    outcome: name,
    wait_ms: open.waitedMs === null ? undefined : Math.round(open.waitedMs),
    run_ms: open.runMs === null ? undefined : Math.round(open.runMs),
    retry_in_ms: result.verb === 'retry' && outcome.verb === 'retry' ? outcome.delayMs : undefined,
    // The message is not logged: a handler writes it, so it may contain parts of the payload. The execution log has it.
    error_code: 'error' in outcome ? (codeIn(outcome.error) ?? outcome.error.name) : undefined,
  };
  log.info(line, 'attempt settled');
}
