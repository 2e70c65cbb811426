import type { Feature, FeatureParts } from '../feature.ts';
import { statsRoutes } from './routes.ts';
import { createSnapshotGauge } from './snapshot-gauge.ts';

type Parts = Pick<FeatureParts, 'database' | 'log' | 'metrics' | 'queue' | 'readyAges' | 'systemReads'>;

/** Shows figures of the whole system, and exports the age of the oldest snapshot. */
export function stats({ database, log, metrics, queue, readyAges, systemReads }: Parts): Feature {
  return {
    routes: statsRoutes({ reads: systemReads, queue, readyAges }),
    metrics: createSnapshotGauge({ database, metrics, log }),
  };
}
