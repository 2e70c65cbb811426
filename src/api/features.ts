import { access } from '../features/access/feature.ts';
import { audit } from '../features/audit/feature.ts';
import { dlq } from '../features/dlq/feature.ts';
import type { Feature, FeatureParts } from '../features/feature.ts';
import { queues } from '../features/queues/feature.ts';
import { sessions } from '../features/sessions/feature.ts';
import { stats } from '../features/stats/feature.ts';
import { tasks } from '../features/tasks/feature.ts';
import { workers } from '../features/workers/feature.ts';
import type { Access } from './access.ts';

/** Creates all features of the API, in the order of the OpenAPI document. A new feature is added here. */
export function createFeatures(parts: FeatureParts, who: Access): readonly Feature[] {
  return [
    tasks(parts),
    dlq(parts),
    queues(parts),
    workers(parts),
    stats(parts),
    access(parts, who.directory),
    sessions(parts, who),
    audit(parts),
  ];
}
