import { readFileSync } from 'node:fs';
import type { BatchV1Api, ConfigurationOptions, CoreV1Api, RequestContext } from '@kubernetes/client-node';
import { KUBERNETES_CALL_TIMEOUT_MS, KUBERNETES_TOKEN_READ_MS } from '../config/timings.ts';
import { messageOf, SchedulerError } from '../core/errors.ts';
import type { ClusterAccess } from './cluster-access.ts';

/** The API refused a request, or did not answer. */
export class KubernetesApiError extends SchedulerError {
  /** Status code of the HTTP response; null if there was none. */
  readonly status: number | null;
  /** The API's name for the reason, such as `NotFound`; null if the response did not come from the API itself. */
  readonly reason: string | null;
  /** The kind of object that the response is about, such as `pods`. */
  readonly kind: string | null;

  constructor(answer: Pick<KubernetesApiError, 'status' | 'reason' | 'kind' | 'message'>) {
    const { status, reason, kind, message } = answer;
    const what = status === null ? 'did not answer' : `answered ${status}${reason === null ? '' : ` ${reason}`}`;
    super('kubernetes_api', `the Kubernetes API ${what}: ${message}`, {
      retryable: status === null || status === 429 || status >= 500,
    });
    this.status = status;
    this.reason = reason;
    this.kind = kind;
  }
}

export interface KubernetesApis {
  readonly core: CoreV1Api;
  readonly batch: BatchV1Api;
}

export interface CallLimits {
  /** Milliseconds for the whole call after the library has been loaded; 2 s by default. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface KubernetesClient {
  /** Loads the client's library, which takes tenths of a second the first time. `call` loads it too if necessary. */
  load(): Promise<void>;
  /**
   * Sends one request.
   * @throws KubernetesApiError for everything except a success, also when the signal fired or the time was over
   */
  call<Answer>(
    request: (apis: KubernetesApis, options: ConfigurationOptions) => Promise<Answer>,
    limits?: CallLimits,
  ): Promise<Answer>;
  close(): Promise<void>;
}

/** Maximum number of connections. It is enough to ask for all pods of a node within the time of one check. */
const CONNECTIONS = 8;

interface Loaded {
  readonly apis: KubernetesApis;
  readonly optionsOf: (signal: AbortSignal) => ConfigurationOptions;
  readonly close: () => Promise<void>;
}

export function createKubernetesClient(access: ClusterAccess): KubernetesClient {
  let loading: Promise<Loaded> | undefined;
  const load = async (): Promise<Loaded> => {
    try {
      return await (loading ??= loadClient(access));
    } catch (error) {
      // Try to load again at the next call, because a file of the service account may be readable later.
      loading = undefined;
      throw error;
    }
  };
  return {
    async load() {
      await load();
    },
    async call(request, { timeoutMs = KUBERNETES_CALL_TIMEOUT_MS, signal: given } = {}) {
      const { apis, optionsOf } = await load();
      const timeout = AbortSignal.timeout(timeoutMs);
      const signal = given === undefined ? timeout : AbortSignal.any([given, timeout]);
      try {
        return await request(apis, optionsOf(signal));
      } catch (error) {
        throw describe(error, signal);
      }
    },
    async close() {
      const loaded = await loading?.catch(() => null);
      await loaded?.close();
    },
  };
}

/**
 * Loads the library with our own dispatcher. The library's default would open new connections for every request. Its
 * entry point loads streams, exec and identity providers as well, so load only the generated part, which takes 0.5 s of
 * CPU time instead of 0.8.
 */
async function loadClient({ server, caFile, tokenFile }: ClusterAccess): Promise<Loaded> {
  const [{ BatchV1Api, CoreV1Api, createConfiguration, Observable, ServerConfiguration }, { Agent }] =
    await Promise.all([import('@kubernetes/client-node/dist/gen/index.js'), import('undici')]);
  const dispatcher = new Agent({ connect: { ca: readFileSync(caFile) }, connections: CONNECTIONS });
  const token = createTokenReader(tokenFile);
  const configuration = createConfiguration({
    baseServer: new ServerConfiguration(server, {}),
    authMethods: {
      default: {
        getName: () => 'service account',
        applySecurityAuthentication(context) {
          context.setHeaderParam('Authorization', `Bearer ${token()}`);
          context.setDispatcher(dispatcher);
        },
      },
    },
  });
  const optionsOf = (signal: AbortSignal): ConfigurationOptions => ({
    middleware: [
      {
        pre(context: RequestContext) {
          context.setSignal(signal);
          // The library would send a JSON patch, which fails if the parent of the field does not exist.
          if (context.getHttpMethod() === 'PATCH')
            context.setHeaderParam('Content-Type', 'application/merge-patch+json');
          return new Observable(Promise.resolve(context));
        },
        post: (context) => new Observable(Promise.resolve(context)),
      },
    ],
  });
  const apis = { core: new CoreV1Api(configuration), batch: new BatchV1Api(configuration) };
  return { apis, optionsOf, close: () => dispatcher.destroy() };
}

function createTokenReader(tokenFile: string): () => string {
  let token = '';
  let readMs = Number.NEGATIVE_INFINITY;
  return () => {
    if (performance.now() - readMs > KUBERNETES_TOKEN_READ_MS) {
      token = readFileSync(tokenFile, 'utf8').trim();
      readMs = performance.now();
    }
    return token;
  };
}

/** Makes our own error, because the library's exceptions contain the whole response with its headers in their message. */
function describe(error: unknown, signal: AbortSignal): KubernetesApiError {
  if (error instanceof Error && 'code' in error && typeof error.code === 'number' && 'body' in error) {
    const { reason, kind, message } = readStatus(error.body);
    return new KubernetesApiError({ status: error.code, reason, kind, message: message ?? 'without a message' });
  }
  return new KubernetesApiError({
    status: null,
    reason: null,
    kind: null,
    message: innermost(signal.aborted ? signal.reason : error),
  });
}

/** Returns the message of the innermost cause, because `fetch failed` alone does not name the problem. */
function innermost(error: unknown): string {
  const { cause, code } = (error ?? {}) as { cause?: unknown; code?: unknown };
  if (cause instanceof Error) return innermost(cause);
  return messageOf(error) || String(code);
}

interface StatusFields {
  readonly reason: string | null;
  readonly kind: string | null;
  readonly message: string | null;
}

/** Reads an object of kind Status. The API sends it with every refusal; a proxy in front of it does not. */
function readStatus(body: unknown): StatusFields {
  try {
    const status: unknown = typeof body === 'string' ? JSON.parse(body) : body;
    if (typeof status === 'object' && status !== null && 'kind' in status && status.kind === 'Status') {
      const { reason, message, details } = status as { reason?: string; message?: string; details?: { kind?: string } };
      return { reason: reason ?? null, kind: details?.kind ?? null, message: message ?? null };
    }
  } catch {
    // The body is not JSON, so it does not come from the API.
  }
  return { reason: null, kind: null, message: null };
}
