import type { Config } from '../../config/env.ts';
import { SWEEP_STATEMENT_TIMEOUT_MS } from '../../config/timings.ts';
import type { SweepConnections } from '../../engine/sweep/duties.ts';
import type { Duty } from '../../engine/sweep/duty.ts';
import type { SweepLimits } from '../../engine/sweep/sweep-context.ts';
import { loadSql } from '../../postgres/sql.ts';

const PRUNE_AUDIT = loadSql(import.meta.dirname, 'prune-audit');

/** Makes the duty that deletes the rows of the audit log whose retention is over, a batch at a time. */
export function pruneAuditDuty(
  { database }: Pick<SweepConnections, 'database'>,
  { AUDIT_RETENTION: retentionMs }: Pick<Config, 'AUDIT_RETENTION'>,
  { dutyMs, pruneIntervalMs, batchRows }: SweepLimits,
): Duty {
  const runShort = database.runWithin(SWEEP_STATEMENT_TIMEOUT_MS);
  return {
    name: 'prune-audit',
    budgetMs: dutyMs,
    everyMs: pruneIntervalMs,
    housekeeping: true,
    async run(context, pass) {
      for (;;) {
        await pass.keep();
        const { holder, pass: number } = pass.grant;
        const [row] = await runShort<{ deleted: number }>(PRUNE_AUDIT, [holder, number, retentionMs, batchRows]);
        const deleted = row?.deleted ?? 0;
        if (deleted > 0)
          pass.result.counted['audit_rows_pruned'] = (pass.result.counted['audit_rows_pruned'] ?? 0) + deleted;
        if (deleted < batchRows) return 'ended';
        if (context.isSpent()) return 'unfinished';
      }
    },
  };
}
