import type { Feature, FeatureParts } from '../feature.ts';
import { createQueueGauges } from './queue-gauges.ts';
import { createQueueStore } from './queue-store.ts';
import { queueRoutes } from './queues.ts';

type Parts = Pick<FeatureParts, 'database' | 'log' | 'metrics' | 'queue' | 'readyAges' | 'registry' | 'systemReads'>;

/** Looking at queues, pausing and deleting them, and their gauges. Their expiry is a duty: see `expire-queues.ts`. */
export function queues({ database, log, metrics, queue, readyAges, registry, systemReads }: Parts): Feature {
  return {
    routes: queueRoutes({ reads: systemReads, store: createQueueStore(database), queue, registry, readyAges }),
    metrics: createQueueGauges({ queue, registry, reads: systemReads, metrics, readyAges, log }),
  };
}
