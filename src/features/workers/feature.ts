import { redisNowMs } from '../../redis/redis-time.ts';
import type { Feature, FeatureParts } from '../feature.ts';
import { workerRoutes } from './routes.ts';
import { loadWorkerHoldings } from './worker-holdings.ts';

type Parts = Pick<FeatureParts, 'config' | 'database' | 'redis' | 'registry'>;

/** Lists workers that beat and workers that died, with the tasks that each of them holds. */
export function workers({ config, database, redis, registry }: Parts): Feature {
  return {
    routes: workerRoutes({
      registry,
      holdings: (visible) => loadWorkerHoldings(database, visible),
      settings: config,
      redisNowMs: () => redisNowMs(redis),
    }),
  };
}
