import { access, type RunningDirectory } from '../features/access/feature.ts';
import { audit } from '../features/audit/feature.ts';
import { dlq } from '../features/dlq/feature.ts';
import type { Feature, FeatureParts } from '../features/feature.ts';
import { queues } from '../features/queues/feature.ts';
import { stats } from '../features/stats/feature.ts';
import { tasks } from '../features/tasks/feature.ts';
import { workers } from '../features/workers/feature.ts';

/** Creates all features of the API, in the order of the OpenAPI document. A new feature is added here. */
export function createFeatures(parts: FeatureParts, directory: RunningDirectory): readonly Feature[] {
  return [
    tasks(parts),
    dlq(parts),
    queues(parts),
    workers(parts),
    stats(parts),
    access(parts, directory),
    audit(parts),
  ];
}
