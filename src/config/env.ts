import { z } from 'zod';
import { QUEUE_NAME, QUEUE_NAME_RULE } from '../core/task.ts';
import { problemOfDatabaseUrl } from './database-url.ts';
import { OIDC_SETTINGS } from './oidc-settings.ts';
import { privacySettings } from './privacy-settings.ts';
import {
  certificates,
  duration,
  flag,
  flagOrAuto,
  httpTargets,
  integer,
  labels,
  list,
  listOf,
  networks,
  publicUrl,
} from './setting-kinds.ts';
import { parseSigningSecrets, SIGNING_SECRET_RULE } from './signing-secrets.ts';
import { encodingProblemOf, parseRedisUrl } from './store-urls.ts';

/** A name that never needs quoting. PostgreSQL reserves names that begin with pg_. */
const SCHEMA_NAME = /^(?!pg_)[A-Za-z_][A-Za-z0-9_]{0,62}$/;

/** A name, an IPv4 address or an IPv6 address in brackets, and a port. */
const SENTINEL_ADDRESS = /^(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})$/;

/** A host name, or `*.` and a host name. */
const HOST_PATTERN =
  /^(?:\*\.)?[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?)*$/;

function isSentinelAddress(text: string): boolean {
  const port = Number(SENTINEL_ADDRESS.exec(text)?.[1] ?? 0);
  return port >= 1 && port <= 65_535;
}

const MINUTE = 60_000;
const HOUR = 3_600_000;
const DAY = 24 * HOUR;

/**
 * Every environment variable of every process. For the variables in
 * `FILE_VARIABLES`, `<NAME>_FILE` names a file that holds the value.
 */
export const envSchema = z.object({
  DATABASE_URL: z
    .string()
    .superRefine((text, context) => {
      const message = problemOfDatabaseUrl(text) ?? encodingProblemOf(text);
      if (message !== null) context.addIssue({ code: 'custom', message });
    })
    .describe('PostgreSQL 15 or newer, with a database in UTF-8'),
  DATABASE_URL_FILE: z
    .string()
    .default('')
    .describe('file that holds DATABASE_URL; read again for each new connection, so that a password can be rotated'),
  DATABASE_CA_FILE: certificates().describe(
    'file with the certificates (PEM) of the authority that must have signed the certificate of PostgreSQL; the certificate must be for its host name, and TLS is required whatever `sslmode` is',
  ),
  DATABASE_SCHEMA: z
    .string()
    .regex(SCHEMA_NAME, 'expected a name of letters, digits and _ that does not begin with a digit or pg_')
    .or(z.literal(''))
    .default('')
    .describe(
      "schema of the scheduler's tables, which `migrate` creates if it is missing; if empty, the first schema of the connection's `search_path`, usually `public`",
    ),
  DATABASE_POOL_MAX: integer(10, 2, 200).describe(
    'maximum number of connections that one process opens; the API opens up to 4 more, for reads',
  ),
  DATABASE_PREPARED_STATEMENTS: flag(true).describe(
    'use prepared statements; `false` behind a pooler in transaction mode, such as PgBouncer, where no state of a connection lasts longer than a transaction',
  ),
  DATABASE_ALLOW_UNSAFE_DURABILITY: flag(false).describe('start even if fsync or synchronous_commit is off'),
  REDIS_URL: z
    .string()
    .superRefine((text, context) => {
      const address = parseRedisUrl(text);
      if (typeof address === 'string') context.addIssue({ code: 'custom', message: address });
    })
    .describe('Redis 7 or newer with maxmemory-policy noeviction; for the rights of its user see [redis.md](redis.md)'),
  REDIS_URL_FILE: z
    .string()
    .default('')
    .describe(
      'file that holds REDIS_URL; the password is read again for each new connection, unless REDIS_CLUSTER is on',
    ),
  REDIS_CA_FILE: certificates().describe(
    'file with the certificates (PEM) of the authority that must have signed the certificate of a `rediss://` server',
  ),
  REDIS_CLUSTER: flag(false).describe('REDIS_URL names a node of a Redis Cluster'),
  REDIS_SENTINELS: listOf('', (item) =>
    isSentinelAddress(item) ? null : 'expected host:port, comma-separated',
  ).describe(
    'Redis Sentinels, `host:port` comma-separated; they name the master, so only user, password, database and `rediss:` of REDIS_URL are used',
  ),
  REDIS_SENTINEL_MASTER: z.string().default('').describe('the name under which the Sentinels watch the master'),
  REDIS_SENTINEL_USERNAME: z.string().default('').describe('user for the Sentinels themselves'),
  REDIS_SENTINEL_PASSWORD: z.string().default('').describe('password for the Sentinels themselves'),
  REDIS_SENTINEL_PASSWORD_FILE: z
    .string()
    .default('')
    .describe('file that holds REDIS_SENTINEL_PASSWORD; read when the process starts'),
  REDIS_SENTINEL_TLS: flag(false).describe('use TLS for the Sentinels, with the same REDIS_CA_FILE as for the servers'),
  REDIS_PREFIX: z
    .string()
    .regex(/^[a-z0-9][a-z0-9._-]{0,31}$/, 'expected 1 to 32 characters of a-z 0-9 . _ -')
    .default('scheduler')
    .describe('prefix of every key except the heartbeats'),
  REDIS_HEARTBEAT_PREFIX: z.string().max(64).default('').describe('prefix of the keys `worker:heartbeat:<worker id>`'),
  LOG_LEVEL: z
    .enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'])
    .default('info')
    .describe('lowest level that is logged'),

  HOST: z.string().default('0.0.0.0').describe('address on which the API listens, and a worker with its METRICS_PORT'),
  PORT: integer(8000, 0, 65_535).describe('port of the API; 0 selects a free port'),
  ALLOWED_HOSTS: listOf('', (item) =>
    HOST_PATTERN.test(item) ? null : 'expected host names without ports, or *.example.org, comma-separated',
  ).describe(
    'host names under which browsers with a session, and everybody while no keys are needed (`AUTH=open`), may reach the API, comma-separated; `*.example.org` allows all names below it; addresses, `localhost` and the host of PUBLIC_URL are always allowed. They also apply to /metrics on METRICS_PORT and API_METRICS_PORT, which names without a dot and names below `svc` may reach too',
  ),
  PUBLIC_URL: publicUrl().describe(
    'address under which people reach the API with a browser, such as `https://tasks.example.org`: `https://`, or `http://` on this machine, a host and if need be a port; its host counts as one of ALLOWED_HOSTS',
  ),
  API_METRICS_PORT: integer(0, 0, 65_535).describe(
    'port of the API for /metrics, /healthz and /readyz, beside PORT; 0: none. A request to this port needs no secret',
  ),
  AUTH: z
    .enum(['auto', 'keys', 'open'])
    .default('auto')
    .describe(
      'who may use the API: `keys`: clients that send their secret ([access.md](access.md)); `open`: whoever reaches it; `auto`: `open` if HOST is a loopback address, so that only this machine reaches it, otherwise `keys`',
    ),
  CLIENTS_DIR: z
    .string()
    .default('')
    .describe(
      'directory with clients that are kept in files, above all the first ones: `<name>/secret`, and `<name>/role`, `<name>/queues` and others beside it ([access.md](access.md#clients-in-files)); read again every few seconds',
    ),
  SESSION_TTL: duration('12h', 5 * MINUTE, 30 * DAY).describe(
    'how long a [session](access.md#people) lasts after a person has logged in, however much it is used',
  ),
  ...OIDC_SETTINGS,
  ...privacySettings,
  PAYLOAD_MAX_BYTES: integer(262_144, 1_024, 16_777_216).describe('largest payload of one task, as JSON in UTF-8'),
  BATCH_MAX_TASKS: integer(10_000, 1, 10_000).describe('maximum number of tasks in one batch'),
  BATCH_MAX_BYTES: integer(16_777_216, 1_024, 268_435_456).describe('largest body of one batch'),
  IN_FLIGHT_MAX_BYTES: integer(0, 0, 1_099_511_627_776).describe(
    'memory that all requests and responses in progress may take in one API process; 0: a quarter of the memory that the process may use. A body counts four times, and one body may take at most a quarter of this',
  ),
  RATE_LIMIT_PER_MINUTE: integer(50, 0, 10_000_000).describe(
    'tasks per minute and client; 0 switches the limit off; [rate-limit.md](rate-limit.md) says who counts as one client',
  ),
  RATE_LIMIT_BURST: integer(50, 1, 10_000_000).describe('tokens in a full bucket'),
  TRUSTED_PROXIES: networks().describe('addresses or CIDR ranges whose X-Forwarded-For is trusted, comma-separated'),
  IDEMPOTENCY_TTL: duration('24h', 1_000, 30 * DAY).describe(
    'how long an Idempotency-Key is remembered; at most the shortest retention',
  ),
  QUEUES_MAX: integer(1_000, 1, 100_000).describe(
    'maximum number of queues that may exist at the same time; submissions create queues, and [deletion and expiry](reliability.md#queues-come-and-go) remove them',
  ),
  QUEUES_MAX_PER_ADDRESS: integer(250, 0, 100_000).describe(
    'maximum number of these queues that one client may have created, or one address while nobody needs a key ([who is one client](rate-limit.md#who-is-one-client)); 0: no limit per client',
  ),
  QUEUES_EXPIRY: duration('7d', 0, 3_650 * DAY).describe(
    'the reclaimer deletes a queue that has had no task for this long; finished tasks that are still kept count as tasks; 0s: never',
  ),
  SIMULATE_UNKNOWN_ACTIONS: flagOrAuto().describe(
    'run `simulate` for an action without a handler, instead of failing the task; `auto`: only if HANDLERS is empty',
  ),
  SHUTDOWN_DELAY: duration('0s', 0, 5 * MINUTE).describe(
    'how long the API still serves requests after it has become unready',
  ),
  SHUTDOWN_GRACE: duration('25s', 0, 60 * MINUTE).describe('how long requests and handlers may continue after SIGTERM'),

  WORKER_QUEUES: listOf('default', (item) => (QUEUE_NAME.test(item) ? null : `expected ${QUEUE_NAME_RULE}`))
    .refine((names) => names.length > 0, 'must name at least one queue')
    .describe('queues that the worker serves, comma-separated, in the order of WORKER_QUEUE_ORDER'),
  WORKER_QUEUE_ORDER: z
    .enum(['listed', 'round-robin'])
    .default('listed')
    .describe('order between the queues: always the first listed one first, or in turn'),
  WORKER_SLOTS: integer(10, 1, 10_000).describe('maximum number of tasks that one worker runs at the same time'),
  WORKER_OVERRUN_GRACE: duration('1m', 0, DAY).describe(
    'when every slot of a worker has been taken for this long by handlers that go on after their time limit, the process ends with exit code 3 so that it is replaced; 0s: never',
  ),
  LOG_OUTCOMES: z
    .enum(['unusual', 'all'])
    .default('unusual')
    .describe(
      'attempts whose outcome gets a log line of the worker: `unusual` logs all but those that completed at the first attempt, and once a minute the counts by action and outcome; `all` logs every one',
    ),
  WORKER_CLAIM_BATCH: integer(200, 1, 1_000).describe('maximum number of tasks in one claim'),
  POD_UID: z
    .string()
    .default('')
    .describe('UID of the pod, the first half of the worker id; if empty, the host name is used'),
  POD_NAME: z
    .string()
    .default('')
    .describe('name of the pod, which the reclaimer needs to ask whether the pod still exists'),
  POD_NAMESPACE: z.string().default('').describe('namespace of the pod'),
  POD_DELETION_COST: flag(false).describe(
    'annotate the pod of the worker, so that Kubernetes removes idle pods first when a Deployment shrinks; needs the right to `patch` pods',
  ),
  METRICS_PORT: integer(9464, 0, 65_535).describe(
    'port of a worker for /metrics, /healthz and /readyz; 0 selects a free port',
  ),
  HANDLERS: z.string().default('').describe("ES module with the team's handlers as named exports"),
  HTTP_ALLOWED_NETWORKS: networks().describe(
    'private networks that `http.request` may reach, as CIDR ranges, comma-separated; a metadata address of a cloud is allowed only if the list contains exactly this address',
  ),
  HTTP_TARGETS: httpTargets().describe(
    'servers to which `http.request` may send requests, comma-separated: host names or addresses, `*.example.org` for all names below it, `*` for all; `https://` before a name and `:port` after it narrow it; `off` switches the action off',
  ),
  HTTP_SECRETS_DIR: z
    .string()
    .default('')
    .describe(
      'directory of the secrets that payloads of `http.request` may name: `<name>/value`, and `<name>/targets` with the servers to which it may be sent',
    ),
  HTTP_SIGNING_SECRET: z
    .string()
    .default('')
    .transform((text, context) => {
      const secrets = parseSigningSecrets(text);
      if (secrets !== null) return secrets;
      context.addIssue({ code: 'custom', message: `expected ${SIGNING_SECRET_RULE}` });
      return z.NEVER;
    })
    .describe(
      'secret with which each `http.request` is signed (Standard Webhooks), so that targets can tell who sends it; two while they change over',
    ),
  HTTP_SIGNING_SECRET_FILE: z
    .string()
    .default('')
    .describe('file that holds HTTP_SIGNING_SECRET; read when the process starts'),
  HTTP_RESPONSE_MAX_BYTES: integer(65_536, 0, 16_777_216).describe(
    'maximum number of bytes of a response body that `http.request` keeps; less is kept if the result would otherwise exceed 256 KiB as JSON',
  ),

  HEARTBEAT_INTERVAL: duration('3s', 100, MINUTE).describe('time between two heartbeats of a worker'),
  HEARTBEAT_TTL: duration('10s', 300, 10 * MINUTE).describe(
    'time without a heartbeat after which a worker is presumed dead',
  ),
  HEARTBEAT_GAP: duration('4s', 150, 10 * MINUTE).describe(
    'if no process has sent a heartbeat for this long, it counts as an outage of Redis and not as the death of workers; must be the same for all processes',
  ),
  HOLDINGS_INTERVAL: duration('5s', 100, MINUTE).describe(
    'how often a worker compares its rows in PostgreSQL with the tasks that it runs',
  ),
  LOST_CAP: integer(3, 1, 100).describe(
    'a task goes to the dead letters when this many of its runs were lost; with 1, every task is suspect and a worker runs one task at a time',
  ),
  SWEEP_INTERVAL: duration('2s', 100, MINUTE).describe('time between two sweeps of the reclaimer'),
  RECLAIMER_WINDOW: duration('50s', 0, 10 * MINUTE).describe(
    'how long one run of the reclaimer sweeps if it runs without --loop',
  ),
  KUBERNETES_POD_CHECK: z
    .enum(['auto', 'off'])
    .default('auto')
    .describe(
      'whether the reclaimer asks the Kubernetes API for the pod of a silent worker; `auto`: if its own pod has a token; needs the right to `get` pods; use `off` if workers of several clusters share the stores',
    ),
  KUBERNETES_JOBS: flag(false).describe(
    'offer the action `kubernetes.job`; needs a token with rights for jobs, pods and pods/log',
  ),
  KUBERNETES_JOBS_NAMESPACE: z.string().default('').describe("namespace of the jobs; if empty, the pod's own"),
  KUBERNETES_JOBS_IMAGES: list('').describe(
    'images that jobs may run, comma-separated; `registry.example.org/team/*` allows all images with this beginning',
  ),
  KUBERNETES_JOBS_LABELS: labels().describe(
    'labels for jobs and their pods, `name=value` comma-separated, for example for network policies and quotas',
  ),
  KUBERNETES_JOBS_PULL_SECRETS: list('').describe(
    'Secrets with the credentials for the images, in the namespace of the jobs, comma-separated',
  ),
  KUBERNETES_SERVICE_HOST: z.string().default('').describe('address of the Kubernetes API; the kubelet sets it'),
  KUBERNETES_SERVICE_PORT: integer(443, 1, 65_535).describe('port of the Kubernetes API; the kubelet sets it'),
  KUBERNETES_SERVICE_ACCOUNT: z
    .string()
    .default('/var/run/secrets/kubernetes.io/serviceaccount')
    .describe('directory in the pod with the files ca.crt, token and namespace'),
  // A client that got no answer submits its tasks again under the same ids. It must find them, or they would run twice.
  RETENTION: duration('7d', HOUR, 3_650 * DAY).describe('how long COMPLETED and CANCELLED tasks are kept'),
  RETENTION_FAILED: duration('30d', HOUR, 3_650 * DAY).describe(
    'how long FAILED tasks and their dead letters are kept',
  ),
  AUDIT_RETENTION: duration('365d', HOUR, 3_650 * DAY).describe(
    'how long the [audit log](access.md#audit) keeps what was done and what was refused',
  ),
});

export type Config = Readonly<z.output<typeof envSchema>>;

export const SECRET_VARIABLES = [
  'DATABASE_URL',
  'REDIS_URL',
  'REDIS_SENTINEL_PASSWORD',
  'HTTP_SIGNING_SECRET',
  'OIDC_CLIENT_SECRET',
] as const;

/** Settings whose value may also be in a file, `<NAME>_FILE`. */
export const FILE_VARIABLES = [...SECRET_VARIABLES, 'REDACTED_FIELDS', 'OIDC_GRANTS'] as const;
