import { SWEEP_STATEMENT_TIMEOUT_MS } from '../../config/timings.ts';
import type { SweepConnections } from '../../engine/sweep/duties.ts';
import type { Duty } from '../../engine/sweep/duty.ts';
import type { SweepLimits } from '../../engine/sweep/sweep-context.ts';
import { loadSql } from '../../postgres/sql.ts';

const PRUNE_SESSIONS = loadSql(import.meta.dirname, 'prune-sessions');

/** Makes the duty that deletes the sessions whose time is over, a batch at a time. */
export function pruneSessionsDuty(
  { database }: Pick<SweepConnections, 'database'>,
  { dutyMs, pruneIntervalMs, batchRows }: SweepLimits,
): Duty {
  const runShort = database.runWithin(SWEEP_STATEMENT_TIMEOUT_MS);
  return {
    name: 'prune-sessions',
    budgetMs: dutyMs,
    everyMs: pruneIntervalMs,
    housekeeping: true,
    async run(context, pass) {
      for (;;) {
        await pass.keep();
        const { holder, pass: number } = pass.grant;
        const [row] = await runShort<{ deleted: number }>(PRUNE_SESSIONS, [holder, number, batchRows]);
        const deleted = row?.deleted ?? 0;
        if (deleted > 0)
          pass.result.counted['sessions_pruned'] = (pass.result.counted['sessions_pruned'] ?? 0) + deleted;
        if (deleted < batchRows) return 'ended';
        if (context.isSpent()) return 'unfinished';
      }
    },
  };
}
