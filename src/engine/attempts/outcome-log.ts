import type { Config } from '../../config/env.ts';
import { OUTCOME_COUNTS_INTERVAL_MS } from '../../config/timings.ts';
import { codeIn } from '../../core/recorded-error.ts';
import type { AttemptOutcome } from '../../core/task.ts';
import type { Service } from '../../lifecycle/service.ts';
import { withoutRedaction, type Logger } from '../../telemetry/logger.ts';
import { logFieldsOf, type OpenOutcome } from './open-outcome.ts';

/** The name of an outcome in metrics and logs. */
export type OutcomeName = Lowercase<AttemptOutcome>;

/**
 * Logs what became of attempts. By default only unusual outcomes have a line of their own, because on a busy queue a line
 * for each task costs more than all other telemetry, and the record has the same data. Instead, a line a minute has the
 * counts.
 */
export interface OutcomeLog extends Service {
  /** Writes the line of an outcome, if it gets one of its own. */
  write(open: OpenOutcome, name: OutcomeName): void;
  /** Adds outcomes to the counts. @param action a label with limited values */
  count(action: string, name: OutcomeName, count: number): void;
}

export interface OutcomeLogParts {
  readonly config: Pick<Config, 'LOG_OUTCOMES'>;
  readonly log: Logger;
  readonly intervalMs?: number;
}

export function createOutcomeLog(parts: OutcomeLogParts): OutcomeLog {
  const { config, intervalMs = OUTCOME_COUNTS_INTERVAL_MS } = parts;
  const log = withoutRedaction(parts.log);
  const all = config.LOG_OUTCOMES === 'all';
  let counts = new Map<string, Map<OutcomeName, number>>();
  let timer: NodeJS.Timeout | undefined;
  let sinceMs = 0;

  const report = (): void => {
    clearTimeout(timer);
    timer = undefined;
    if (counts.size === 0) return;
    const byAction = Object.fromEntries([...counts].map(([action, names]) => [action, Object.fromEntries(names)]));
    counts = new Map();
    log.info({ seconds: Math.round((performance.now() - sinceMs) / 1_000), counts: byAction }, 'attempts settled');
  };

  return {
    name: 'outcome-log',
    write(open, name) {
      const { outcome, attempt } = open.settlement;
      if (!all && name === 'completed' && attempt === 1) return;
      // The logger leaves out fields that are undefined.
      const line = {
        ...logFieldsOf(open),
        action: open.action,
        outcome: name,
        wait_ms: open.waitedMs === null ? undefined : Math.round(open.waitedMs),
        run_ms: open.runMs === null ? undefined : Math.round(open.runMs),
        retry_in_ms: name === 'retried' && outcome.verb === 'retry' ? outcome.delayMs : undefined,
        // The message is not logged: a handler writes it, so it may contain parts of the payload. The execution log has it.
        error_code: 'error' in outcome ? (codeIn(outcome.error) ?? outcome.error.name) : undefined,
      };
      log.info(line, 'attempt settled');
    },
    count(action, name, count) {
      if (all) return;
      const names = counts.get(action) ?? new Map<OutcomeName, number>();
      counts.set(action, names.set(name, (names.get(name) ?? 0) + count));
      if (timer !== undefined) return;
      // Armed by the first outcome, so that an idle worker is not woken.
      sinceMs = performance.now();
      timer = setTimeout(report, intervalMs).unref();
    },
    async start() {},
    async stop() {
      report();
    },
  };
}
