import { BUILT_IN_PAYLOADS, isBuiltIn, type BuiltInAction } from '../actions/built-in.ts';
import type { Config } from '../config/env.ts';
import { ConfigError } from '../config/read-config.ts';
import { FinalError } from '../core/errors.ts';
import { DEFAULT_ACTION } from '../core/task.ts';
import type { Handler } from '../engine/attempts/handler.ts';
import { createKubernetesClient } from '../kubernetes/client.ts';
import { findClusterAccess } from '../kubernetes/cluster-access.ts';
import { createJobs, type Jobs } from '../kubernetes/jobs.ts';
import type { HttpRequestHandler } from './http/http-request.ts';
import { refusedAddresses } from './http/refused-addresses.ts';
import { createKubernetesJob } from './kubernetes-job.ts';
import { createSimulate } from './simulate.ts';
import { loadTeamHandlers } from './team-handlers.ts';

export interface HandlerRegistryOptions {
  readonly config: Pick<Config, 'HANDLERS' | 'SIMULATE_UNKNOWN_ACTIONS'> & HttpConfig & JobsConfig;
  /** Replaces the built-in `simulate` in tests. */
  readonly simulate?: Handler;
}

type HttpConfig = Pick<
  Config,
  'HTTP_ALLOWED_NETWORKS' | 'HTTP_TARGETS' | 'HTTP_SECRETS_DIR' | 'HTTP_SIGNING_SECRET' | 'HTTP_RESPONSE_MAX_BYTES'
>;

type JobsConfig = Pick<
  Config,
  | 'KUBERNETES_JOBS'
  | 'KUBERNETES_JOBS_NAMESPACE'
  | 'KUBERNETES_JOBS_IMAGES'
  | 'KUBERNETES_JOBS_LABELS'
  | 'KUBERNETES_JOBS_PULL_SECRETS'
> &
  Parameters<typeof findClusterAccess>[0];

export interface ResolvedHandler {
  /** The action that the handler serves, or the unknown action. */
  readonly name: string;
  readonly handler: Handler;
}

export interface HandlerRegistry {
  /** Returns the handler of an action. An unknown action gets `simulate`, or a handler that fails without retries. */
  resolve(action: string | null): ResolvedHandler;
  /** Returns the known actions in alphabetical order. */
  actions(): string[];
  /** Closes the resources of the built-in handlers. Idempotent. */
  close(): Promise<void>;
}

const SIMULATE: BuiltInAction = 'simulate';
const HTTP_REQUEST: BuiltInAction = 'http.request';
const KUBERNETES_JOB: BuiltInAction = 'kubernetes.job';

/** Returns whether tasks of an action without a handler are simulated: by default only if HANDLERS is empty. */
export function simulatesUnknownActions({
  HANDLERS,
  SIMULATE_UNKNOWN_ACTIONS: wanted,
}: Pick<Config, 'HANDLERS' | 'SIMULATE_UNKNOWN_ACTIONS'>): boolean {
  return wanted === 'auto' ? HANDLERS === '' : wanted;
}

/**
 * Creates the registry of the built-in handlers and the handlers of the team's module.
 * @throws ConfigError if KUBERNETES_JOBS is on in a pod without a token
 * @throws HandlersModuleError if HANDLERS names a module that cannot be used
 */
export async function createHandlerRegistry({
  config,
  simulate = createSimulate(),
}: HandlerRegistryOptions): Promise<HandlerRegistry> {
  const http = lazyHttpRequest(config);
  const handlers = new Map<string, Handler>([[SIMULATE, simulate]]);
  if (config.HTTP_TARGETS.length > 0) handlers.set(HTTP_REQUEST, (context) => http.handle(context));
  const jobs = config.KUBERNETES_JOBS ? openJobs(config) : null;
  if (jobs !== null) {
    handlers.set(KUBERNETES_JOB, createKubernetesJob({ jobs, allowedImages: config.KUBERNETES_JOBS_IMAGES }));
  }
  if (config.HANDLERS !== '') {
    for (const [action, handler] of await loadTeamHandlers(config.HANDLERS, new Set(Object.keys(BUILT_IN_PAYLOADS))))
      handlers.set(action, handler);
  }
  const actions = (): string[] => [...handlers.keys()].toSorted();

  const simulatesUnknown = simulatesUnknownActions(config);

  return {
    resolve(action) {
      const name = action ?? DEFAULT_ACTION;
      const handler = handlers.get(name);
      if (handler !== undefined) return { name, handler };
      // Do not simulate a built-in action that is switched off, because that would hide that it does nothing.
      if (simulatesUnknown && !isBuiltIn(name)) return { name: SIMULATE, handler: simulate };
      return { name, handler: refuse(name, actions()) };
    },
    actions,
    async close() {
      await Promise.all([http.close(), jobs?.close()]);
    },
  };
}

function openJobs(config: JobsConfig): Jobs {
  const access = findClusterAccess(config);
  if (access === null) {
    const problem =
      'KUBERNETES_JOBS: expected a pod with a token of its service account (ca.crt, token and namespace in KUBERNETES_SERVICE_ACCOUNT)';
    throw new ConfigError([problem]);
  }
  return createJobs(createKubernetesClient(access), config.KUBERNETES_JOBS_NAMESPACE || access.namespace, {
    labels: config.KUBERNETES_JOBS_LABELS,
    pullSecrets: config.KUBERNETES_JOBS_PULL_SECRETS,
  });
}

function refuse(action: string, known: readonly string[]): Handler {
  const setting = action === HTTP_REQUEST ? 'HTTP_TARGETS' : 'KUBERNETES_JOBS';
  const why = isBuiltIn(action) ? `is switched off for this worker (${setting})` : 'has no handler';
  return () => {
    throw new FinalError(`the action ${JSON.stringify(action)} ${why}; known actions: ${known.join(', ')}`, {
      code: 'unknown_action',
    });
  };
}

/** Loads the HTTP client with the first task that needs it, because it costs memory in every worker. */
function lazyHttpRequest(config: HttpConfig): HttpRequestHandler {
  let loading: Promise<HttpRequestHandler> | undefined;
  const load = async (): Promise<HttpRequestHandler> => {
    const { createHttpRequest } = await import('./http/http-request.ts');
    const { createHttpSecrets } = await import('./http/http-secrets.ts');
    return createHttpRequest({
      refused: refusedAddresses(config.HTTP_ALLOWED_NETWORKS),
      targets: config.HTTP_TARGETS,
      secrets: createHttpSecrets(config.HTTP_SECRETS_DIR),
      signingSecrets: config.HTTP_SIGNING_SECRET,
      responseMaxBytes: config.HTTP_RESPONSE_MAX_BYTES,
    });
  };
  return {
    async handle(context) {
      loading ??= load();
      return (await loading).handle(context);
    },
    async close() {
      await (await loading)?.close();
    },
  };
}
