import type { Feature, FeatureParts } from '../feature.ts';
import { statsRoutes } from './routes.ts';

type Parts = Pick<FeatureParts, 'queue' | 'readyAges' | 'systemReads'>;

/** Shows figures of the whole system. */
export function stats({ queue, readyAges, systemReads }: Parts): Feature {
  return { routes: statsRoutes({ reads: systemReads, queue, readyAges }) };
}
