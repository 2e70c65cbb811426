import { findClaims, judgeClaims } from './claims.ts';
import type { Duty, DutyContext, DutyEnd } from './duty.ts';
import { expireQueues } from './expire-queues.ts';
import type { Pass } from './lease.ts';
import { makePartitions, prune, pruneKeys } from './prune.ts';
import { lookAtQueues } from './queues.ts';
import { rebuild } from './rebuild.ts';
import { reclaim } from './reclaim.ts';
import { scanMembers, scanRunning, scanWaiting } from './rolling-scan.ts';
import type { SweepLimits } from './sweep-context.ts';
import { checkWatermark } from './watermark.ts';

/** The dead come first: everything behind them may take its time. A new duty is one more entry here and in `DUTY_NAMES`. */
export function createDuties({ dutyMs, pruneIntervalMs }: SweepLimits): readonly Duty[] {
  const inEveryPass = { budgetMs: dutyMs };
  const housekeeping = { budgetMs: dutyMs, everyMs: pruneIntervalMs, housekeeping: true };
  return [
    {
      ...inEveryPass,
      name: 'queues',
      run: ending(async (context) => {
        context.findings.queues = await lookAtQueues(context);
      }),
    },
    {
      ...inEveryPass,
      name: 'holders',
      needs: ['queues'],
      run: ending(async (context, pass) => {
        context.findings.claims = await findClaims(context, pass, context.findings.queues ?? []);
      }),
    },
    {
      ...inEveryPass,
      name: 'reclaim',
      // What the dead hold in PostgreSQL is known without Redis' queues.
      run: ending((context, pass) => reclaim(context, pass, context.findings)),
    },
    {
      ...inEveryPass,
      name: 'claims',
      needs: ['claims'],
      run: ending(async (context, pass) => {
        if (context.findings.claims !== null) await judgeClaims(context, pass, context.findings.claims);
      }),
    },
    {
      ...inEveryPass,
      name: 'rebuild',
      needs: ['queues'],
      run: ending((context, pass) => rebuild(context, pass, context.findings.queues ?? [])),
    },
    { ...inEveryPass, name: 'watermark', run: ending(checkWatermark) },
    { ...inEveryPass, name: 'scan-waiting', needs: ['queues'], run: ending(scanWaiting) },
    { ...inEveryPass, name: 'scan-running', needs: ['queues'], run: ending(scanRunning) },
    { ...inEveryPass, name: 'scan-members', needs: ['queues'], run: ending(scanMembers) },
    { ...housekeeping, name: 'partitions', run: ending(makePartitions) },
    { ...housekeeping, name: 'keys', run: pruneKeys },
    { ...housekeeping, name: 'prune', run: prune },
    { ...housekeeping, name: 'expire-queues', needs: ['queues'], run: expireQueues },
  ];
}

type Run = (context: DutyContext, pass: Pass) => Promise<void>;

/** A duty that is over with every pass, or keeps its own cursor. */
function ending(run: Run): (context: DutyContext, pass: Pass) => Promise<DutyEnd> {
  return async (context, pass) => {
    await run(context, pass);
    return 'ended';
  };
}
