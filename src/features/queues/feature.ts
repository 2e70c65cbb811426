import type { Feature, FeatureParts } from '../feature.ts';
import { createQueueGauges } from './queue-gauges.ts';
import { createQueueStore } from './queue-store.ts';
import { queueRoutes } from './routes.ts';

type Parts = Pick<FeatureParts, 'database' | 'log' | 'metrics' | 'queue' | 'readyAges' | 'registry' | 'systemReads'>;

/** Lists, shows, changes, pauses and deletes queues, and exports their gauges. A duty deletes unused ones (`duty.ts`). */
export function queues({ database, log, metrics, queue, readyAges, registry, systemReads }: Parts): Feature {
  return {
    routes: queueRoutes({ reads: systemReads, store: createQueueStore(database), queue, registry, readyAges }),
    metrics: createQueueGauges({ queue, registry, reads: systemReads, metrics, readyAges, log }),
  };
}
