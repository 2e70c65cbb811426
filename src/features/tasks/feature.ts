import { createCancelChannel } from '../../engine/cancel/cancel-channel.ts';
import { createCancelStore } from '../../engine/cancel/cancel-store.ts';
import type { SearchLimits } from '../../postgres/reads/search.ts';
import type { Feature, FeatureParts } from '../feature.ts';
import { countUnfinished, createQuotas } from './quotas.ts';
import { revealTask } from './reveal-route.ts';
import { createRevealStore } from './reveal-store.ts';
import { taskRoutes } from './routes.ts';
import { submitRoutes } from './submit-routes.ts';
import { createTaskReads } from './task-reads.ts';

type Parts = Pick<
  FeatureParts,
  | 'admission'
  | 'config'
  | 'cursors'
  | 'database'
  | 'ids'
  | 'keys'
  | 'log'
  | 'projectionOf'
  | 'queue'
  | 'reader'
  | 'redis'
  | 'submitter'
>;

/** Submits, shows, lists and cancels tasks. */
export function tasks(parts: Parts, search?: SearchLimits): Feature {
  const { admission, config, cursors, database, ids, keys, log, projectionOf, queue, reader, redis, submitter } = parts;
  return {
    routes: [
      ...submitRoutes({
        submitter,
        projectionOf,
        ids,
        admission,
        quotas: createQuotas({ count: countUnfinished(database) }),
        payloadMaxBytes: config.PAYLOAD_MAX_BYTES,
        batchMaxTasks: config.BATCH_MAX_TASKS,
        batchMaxBytes: config.BATCH_MAX_BYTES,
      }),
      ...taskRoutes({
        cancels: createCancelStore(database),
        reads: createTaskReads(reader, search),
        projectionOf,
        queue,
        cancelChannel: createCancelChannel(redis, keys, log),
        cursors,
      }),
      revealTask({ reveals: createRevealStore(database) }),
    ],
  };
}
