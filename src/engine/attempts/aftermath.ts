import { StoreUnavailableError } from '../../core/errors.ts';
import type { DurationSeries } from '../../telemetry/durations.ts';
import { logTogether, withoutRedaction, type Logger } from '../../telemetry/logger.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import type { Returned, SettledMember, TaskQueue } from '../order/task-queue.ts';
import type { SettleResult } from './attempt-store.ts';
import { logFieldsOf, type OpenOutcome } from './open-outcome.ts';
import type { OutcomeLog, OutcomeName } from './outcome-log.ts';

export interface SettledOutcome {
  readonly open: OpenOutcome;
  readonly result: SettleResult;
}

type WrittenVerb = NonNullable<SettleResult['verb']>;

const OUTCOME_NAMES: Readonly<Record<WrittenVerb, OutcomeName>> = {
  complete: 'completed',
  retry: 'retried',
  fail: 'failed',
  abort: 'cancelled',
  release: 'released',
};

export interface AftermathParts {
  readonly workerId: string;
  readonly queue: Pick<TaskQueue, 'settle' | 'release'>;
  readonly metrics: Pick<Metrics, 'queueLabel' | 'actionLabel' | 'tasksSettled' | 'taskRun' | 'staleSettles'>;
  readonly outcomeLog: OutcomeLog;
  readonly log: Logger;
}

/**
 * Returns a function to call after PostgreSQL has judged outcomes: it updates Redis, and counts and logs each outcome
 * once. An `already` verdict counts too: this worker wrote that outcome in an earlier statement whose answer was lost.
 */
export function createAftermath(parts: AftermathParts): (settled: readonly SettledOutcome[]) => void {
  const log = withoutRedaction(parts.log);
  return (settled) => {
    for (const [queue, outcomes] of byQueue(settled)) {
      void updateQueue(parts, queue, outcomes);
      count(parts, queue, outcomes);
    }
    logTogether(log, () => {
      for (const outcome of settled) report(parts, log, outcome);
    });
  };
}

/** Most workers serve one queue, so most batches need no grouping. */
function byQueue(settled: readonly SettledOutcome[]): Iterable<[string, readonly SettledOutcome[]]> {
  const first = settled[0]?.open.task.queue;
  if (first === undefined) return [];
  if (settled.every(({ open }) => open.task.queue === first)) return [[first, settled]];
  return Map.groupBy(settled, ({ open }) => open.task.queue);
}

/** Updates Redis. Never rejects, because reconcile repairs what Redis misses. */
async function updateQueue(parts: AftermathParts, queue: string, outcomes: readonly SettledOutcome[]): Promise<void> {
  const { workerId, log } = parts;
  const written: SettledMember[] = [];
  const returned: Returned[] = [];
  for (const { open, result } of outcomes) {
    const { verdict, verb } = result;
    const { outcome } = open.settlement;
    // A stale outcome may only remove its own claim. The script leaves the claim of a successor alone.
    if (verdict === 'stale' || verb === null) returned.push({ position: open.task, waitMs: null });
    else if (verb === 'release') returned.push({ position: open.task, waitMs: 0 });
    else {
      const waitMs = verb === 'retry' && outcome.verb === 'retry' ? outcome.delayMs : 0;
      written.push({ position: open.task, verb, waitMs });
    }
  }
  try {
    await Promise.all([
      written.length > 0 && parts.queue.settle(queue, workerId, written),
      returned.length > 0 && parts.queue.release(queue, workerId, returned),
    ]);
  } catch (error) {
    if (!(error instanceof StoreUnavailableError))
      log.error({ err: error, queue }, 'settled in PostgreSQL, but not in Redis');
  }
}

/** The outcomes of a batch with the same labels. */
interface Kind {
  readonly action: string | null;
  readonly verb: WrittenVerb;
  /** Null while no outcome of this kind ran here. */
  run: DurationSeries | null;
  count: number;
}

/** Fills the metrics. They look up their labels once for each kind of outcome, and not for each outcome. */
function count({ metrics, outcomeLog }: AftermathParts, queueName: string, outcomes: readonly SettledOutcome[]): void {
  const queue = metrics.queueLabel(queueName);
  const kinds: Kind[] = [];
  let kind: Kind | undefined;
  for (const { open, result } of outcomes) {
    const { action, runMs } = open;
    const { verb } = result;
    if (result.verdict === 'stale' || verb === null) continue;
    if (kind?.action !== action || kind.verb !== verb) {
      kind = kinds.find((known) => known.action === action && known.verb === verb);
      if (kind === undefined) {
        kind = { action, verb, run: null, count: 0 };
        kinds.push(kind);
      }
    }
    kind.count++;
    if (runMs === null) continue;
    kind.run ??= metrics.taskRun.labels({ queue, outcome: OUTCOME_NAMES[verb] });
    kind.run.observe(runMs / 1_000);
  }
  for (const { action: name, verb, count: number } of kinds) {
    const action = name === null ? 'none' : metrics.actionLabel(name);
    metrics.tasksSettled.inc({ queue, action, outcome: OUTCOME_NAMES[verb] }, number);
    outcomeLog.count(action, OUTCOME_NAMES[verb], number);
  }
}

function report({ metrics, outcomeLog }: AftermathParts, log: Logger, { open, result }: SettledOutcome): void {
  if (result.verdict === 'stale' || result.verb === null) {
    metrics.staleSettles.inc();
    const { verb } = open.settlement.outcome;
    log.warn(
      { ...logFieldsOf(open), action: open.action, verb },
      'outcome refused, the attempt is no longer the latest',
    );
    return;
  }
  outcomeLog.write(open, OUTCOME_NAMES[result.verb]);
}
