import { dlq } from '../features/dlq/feature.ts';
import type { Feature, FeatureParts } from '../features/feature.ts';
import { queues } from '../features/queues/feature.ts';
import { stats } from '../features/stats/feature.ts';
import { tasks } from '../features/tasks/feature.ts';
import { workers } from '../features/workers/feature.ts';

/** What the API offers, in the order of its document. A new feature is one more line here. */
export function createFeatures(parts: FeatureParts): readonly Feature[] {
  return [tasks(parts), dlq(parts), queues(parts), workers(parts), stats(parts)];
}
