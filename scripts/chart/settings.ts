import { envSchema } from '../../src/config/env.ts';

/** Settings that values of their own, or the chart itself, decide; `config` refuses them. */
export const MANAGED_SETTINGS: ReadonlySet<string> = new Set([
  'DATABASE_URL',
  'DATABASE_URL_FILE',
  'DATABASE_CA_FILE',
  'DATABASE_POOL_MAX',
  'REDIS_URL',
  'REDIS_URL_FILE',
  'REDIS_CA_FILE',
  'REDIS_CLUSTER',
  'REDIS_SENTINELS',
  'REDIS_SENTINEL_MASTER',
  'REDIS_SENTINEL_USERNAME',
  'REDIS_SENTINEL_TLS',
  'REDIS_SENTINEL_PASSWORD',
  'REDIS_SENTINEL_PASSWORD_FILE',
  'HOST',
  'PORT',
  'METRICS_PORT',
  'POD_UID',
  'POD_NAME',
  'POD_NAMESPACE',
  'POD_DELETION_COST',
  'KUBERNETES_POD_CHECK',
  'KUBERNETES_JOBS',
  'KUBERNETES_JOBS_NAMESPACE',
  'KUBERNETES_JOBS_IMAGES',
  'KUBERNETES_SERVICE_HOST',
  'KUBERNETES_SERVICE_PORT',
  'KUBERNETES_SERVICE_ACCOUNT',
  'HANDLERS',
  'SHUTDOWN_DELAY',
  'SHUTDOWN_GRACE',
  'WORKER_QUEUES',
  'WORKER_QUEUE_ORDER',
  'WORKER_SLOTS',
  'RECLAIMER_WINDOW',
]);

/** The JSON schema of `config`: every setting that the processes know, so that a misspelt one is refused. */
export function configSchema(): object {
  const names = Object.keys(envSchema.shape).filter((name) => !MANAGED_SETTINGS.has(name));
  const properties = Object.fromEntries(names.map((name) => [name, { type: ['string', 'integer', 'boolean'] }]));
  return { type: 'object', additionalProperties: false, properties };
}
