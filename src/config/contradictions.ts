import type { Config } from './env.ts';
import { oidcProblems } from './oidc-contradictions.ts';
import { redisAddressOf } from './store-urls.ts';

/** Settings that are valid alone but not together. */
interface Contradiction {
  readonly between: readonly (keyof Config)[];
  /** Returns the problems of a configuration. Each begins with the name of a variable. */
  readonly problemsIn: (config: Config) => string[];
}

/** Returns the contradictions between the settings that could be read. */
export function contradictionsIn(config: Partial<Config>): string[] {
  return CONTRADICTIONS.filter(({ between }) => between.every((name) => config[name] !== undefined)).flatMap(
    ({ problemsIn }) => problemsIn(config as Config),
  );
}

const CONTRADICTIONS: readonly Contradiction[] = [
  {
    between: ['REDIS_URL', 'REDIS_CA_FILE'],
    problemsIn: ({ REDIS_URL, REDIS_CA_FILE }) =>
      REDIS_CA_FILE === '' || REDIS_URL.startsWith('rediss:')
        ? []
        : ['REDIS_CA_FILE: needs a REDIS_URL that begins with rediss://, otherwise the connection would not use TLS'],
  },
  {
    between: ['REDIS_URL', 'REDIS_CLUSTER'],
    problemsIn: ({ REDIS_URL, REDIS_CLUSTER }) =>
      REDIS_CLUSTER && redisAddressOf(REDIS_URL).database !== 0
        ? ['REDIS_URL: a Redis Cluster has database 0 only; expected nothing after the host, or /0']
        : [],
  },
  { between: ['REDIS_SENTINELS', 'REDIS_SENTINEL_MASTER', 'REDIS_CLUSTER'], problemsIn: sentinelProblems },
  {
    between: ['IDEMPOTENCY_TTL', 'RETENTION', 'RETENTION_FAILED'],
    problemsIn: ({ IDEMPOTENCY_TTL, RETENTION, RETENTION_FAILED }) =>
      IDEMPOTENCY_TTL <= Math.min(RETENTION, RETENTION_FAILED)
        ? []
        : [
            'IDEMPOTENCY_TTL: must not be longer than RETENTION and RETENTION_FAILED, otherwise a replay could name a task that was deleted',
          ],
  },
  { between: ['HEARTBEAT_INTERVAL', 'HEARTBEAT_GAP', 'HEARTBEAT_TTL', 'SWEEP_INTERVAL'], problemsIn: beatProblems },
  {
    between: ['POD_DELETION_COST', 'POD_NAME', 'POD_NAMESPACE'],
    problemsIn: ({ POD_DELETION_COST, POD_NAME, POD_NAMESPACE }) =>
      POD_DELETION_COST && (POD_NAME === '' || POD_NAMESPACE === '')
        ? ['POD_DELETION_COST: needs POD_NAME and POD_NAMESPACE, the pod to annotate']
        : [],
  },
  {
    between: ['KUBERNETES_JOBS', 'KUBERNETES_JOBS_IMAGES'],
    problemsIn: ({ KUBERNETES_JOBS, KUBERNETES_JOBS_IMAGES }) =>
      KUBERNETES_JOBS && KUBERNETES_JOBS_IMAGES.length === 0
        ? ['KUBERNETES_JOBS: needs KUBERNETES_JOBS_IMAGES, the images that may run']
        : [],
  },
  {
    between: [
      'AUTH',
      'HOST',
      'PUBLIC_URL',
      'OIDC_ISSUER',
      'OIDC_CLIENT_ID',
      'OIDC_CLIENT_SECRET',
      'OIDC_GRANTS',
      'OIDC_AUDIENCE',
      'OIDC_CA_FILE',
    ],
    problemsIn: oidcProblems,
  },
];

function sentinelProblems({ REDIS_SENTINELS, REDIS_SENTINEL_MASTER, REDIS_CLUSTER }: Config): string[] {
  const problems: string[] = [];
  if (REDIS_SENTINELS.length > 0 && REDIS_SENTINEL_MASTER === '') {
    problems.push('REDIS_SENTINEL_MASTER: missing; the Sentinels may watch several masters');
  }
  if (REDIS_SENTINELS.length === 0 && REDIS_SENTINEL_MASTER !== '') {
    problems.push('REDIS_SENTINELS: missing; only Sentinels know the name REDIS_SENTINEL_MASTER');
  }
  if (REDIS_SENTINELS.length > 0 && REDIS_CLUSTER) {
    problems.push('REDIS_CLUSTER: a Redis Cluster has no Sentinels; expected either REDIS_CLUSTER or REDIS_SENTINELS');
  }
  return problems;
}

/**
 * A worker's last beat may be one interval older than the last beat of all workers. Then Redis may be away for
 * almost HEARTBEAT_GAP. A worker that beats again right after that must not count as dead yet.
 */
function beatProblems({ HEARTBEAT_INTERVAL, HEARTBEAT_GAP, HEARTBEAT_TTL, SWEEP_INTERVAL }: Config): string[] {
  const problems: string[] = [];
  if (HEARTBEAT_TTL <= HEARTBEAT_INTERVAL + HEARTBEAT_GAP) {
    problems.push(
      `HEARTBEAT_TTL: must be longer than HEARTBEAT_INTERVAL and HEARTBEAT_GAP together (${HEARTBEAT_INTERVAL + HEARTBEAT_GAP} ms), otherwise an outage of Redis shorter than the gap would count as the death of every worker; given ${HEARTBEAT_TTL} ms`,
    );
  }
  const rhythms = Object.entries({ HEARTBEAT_INTERVAL, SWEEP_INTERVAL });
  for (const [name, ms] of rhythms.filter(([, rhythmMs]) => rhythmMs >= HEARTBEAT_GAP)) {
    problems.push(
      `HEARTBEAT_GAP: must be longer than ${name} (${ms} ms), otherwise the time between two beats would look like an outage of Redis and no worker would ever be presumed dead; given ${HEARTBEAT_GAP} ms`,
    );
  }
  return problems;
}
