import type { Config } from './env.ts';
import { redisAddressOf } from './store-urls.ts';

/** Settings that are right each by itself, and not together. */
interface Contradiction {
  readonly between: readonly (keyof Config)[];
  /** What is wrong with a configuration, each beginning with the name of a variable. */
  readonly problemsIn: (config: Config) => string[];
}

/** Looks at those settings only that could be read. */
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
        : ['REDIS_CA_FILE: needs a REDIS_URL that begins with rediss://, or the connection would be without TLS'],
  },
  {
    between: ['REDIS_URL', 'REDIS_CLUSTER'],
    problemsIn: ({ REDIS_URL, REDIS_CLUSTER }) =>
      REDIS_CLUSTER && redisAddressOf(REDIS_URL).database !== 0
        ? ['REDIS_URL: a Redis Cluster has database 0 only; expected nothing behind the host, or /0']
        : [],
  },
  { between: ['REDIS_SENTINELS', 'REDIS_SENTINEL_MASTER', 'REDIS_CLUSTER'], problemsIn: sentinelProblems },
  {
    between: ['IDEMPOTENCY_TTL', 'RETENTION', 'RETENTION_FAILED'],
    problemsIn: ({ IDEMPOTENCY_TTL, RETENTION, RETENTION_FAILED }) =>
      IDEMPOTENCY_TTL <= Math.min(RETENTION, RETENTION_FAILED)
        ? []
        : [
            'IDEMPOTENCY_TTL: must not be longer than RETENTION and RETENTION_FAILED, or a replay could name a task that is gone',
          ],
  },
  { between: ['HEARTBEAT_INTERVAL', 'HEARTBEAT_GAP', 'HEARTBEAT_TTL', 'SWEEP_INTERVAL'], problemsIn: beatProblems },
  {
    between: ['POD_DELETION_COST', 'POD_NAME', 'POD_NAMESPACE'],
    problemsIn: ({ POD_DELETION_COST, POD_NAME, POD_NAMESPACE }) =>
      POD_DELETION_COST && (POD_NAME === '' || POD_NAMESPACE === '')
        ? ['POD_DELETION_COST: needs POD_NAME and POD_NAMESPACE, which name the pod to annotate']
        : [],
  },
  {
    between: ['KUBERNETES_JOBS', 'KUBERNETES_JOBS_IMAGES'],
    problemsIn: ({ KUBERNETES_JOBS, KUBERNETES_JOBS_IMAGES }) =>
      KUBERNETES_JOBS && KUBERNETES_JOBS_IMAGES.length === 0
        ? ['KUBERNETES_JOBS: needs KUBERNETES_JOBS_IMAGES, which says what may run']
        : [],
  },
];

function sentinelProblems({ REDIS_SENTINELS, REDIS_SENTINEL_MASTER, REDIS_CLUSTER }: Config): string[] {
  const problems: string[] = [];
  if (REDIS_SENTINELS.length > 0 && REDIS_SENTINEL_MASTER === '') {
    problems.push('REDIS_SENTINEL_MASTER: missing; the Sentinels may watch several masters');
  }
  if (REDIS_SENTINELS.length === 0 && REDIS_SENTINEL_MASTER !== '') {
    problems.push('REDIS_SENTINELS: missing; REDIS_SENTINEL_MASTER is a name that only they know');
  }
  if (REDIS_SENTINELS.length > 0 && REDIS_CLUSTER) {
    problems.push('REDIS_CLUSTER: a Redis Cluster has no Sentinels; expected one of the two');
  }
  return problems;
}

/**
 * A worker may have beaten last one interval before everybody's last beat, and Redis may have been
 * away since for all but a gap. Whoever is back then must not be dead already.
 */
function beatProblems({ HEARTBEAT_INTERVAL, HEARTBEAT_GAP, HEARTBEAT_TTL, SWEEP_INTERVAL }: Config): string[] {
  const problems: string[] = [];
  if (HEARTBEAT_TTL <= HEARTBEAT_INTERVAL + HEARTBEAT_GAP) {
    problems.push(
      `HEARTBEAT_TTL: must be longer than HEARTBEAT_INTERVAL and HEARTBEAT_GAP together (${HEARTBEAT_INTERVAL + HEARTBEAT_GAP} ms), or an outage of Redis that is shorter than the gap would count as the death of every worker; given ${HEARTBEAT_TTL} ms`,
    );
  }
  const rhythms = Object.entries({ HEARTBEAT_INTERVAL, SWEEP_INTERVAL });
  for (const [name, ms] of rhythms.filter(([, rhythmMs]) => rhythmMs >= HEARTBEAT_GAP)) {
    problems.push(
      `HEARTBEAT_GAP: must be longer than ${name} (${ms} ms), or the time between two beats would look like an outage of Redis and nobody would ever be presumed dead; given ${HEARTBEAT_GAP} ms`,
    );
  }
  return problems;
}
