import type { SearchLimits } from '../../postgres/reads/search.ts';
import type { Feature, FeatureParts } from '../feature.ts';
import { createDeadLetterReads } from './dead-letter-reads.ts';
import { createRequeueStore } from './requeue-store.ts';
import { dlqRoutes } from './routes.ts';

type Parts = Pick<FeatureParts, 'cursors' | 'database' | 'metrics' | 'projectionOf' | 'queue' | 'reader'>;

/** Lists and shows dead letters, and requeues their tasks. */
export function dlq(
  { cursors, database, metrics, projectionOf, queue, reader }: Parts,
  search?: SearchLimits,
): Feature {
  return {
    routes: dlqRoutes({
      store: createRequeueStore(database),
      reads: createDeadLetterReads(reader, search),
      projectionOf,
      queue,
      metrics,
      cursors,
    }),
  };
}
