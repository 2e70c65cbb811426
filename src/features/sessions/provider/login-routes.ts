import { z } from 'zod';
import { StoreUnavailableError } from '../../../core/errors.ts';
import type { RefusalLog } from '../../../http/access/refusals.ts';
import { Problem } from '../../../http/problem.ts';
import { defineRoute, type RequestInfo, type Route } from '../../../http/route.ts';
import type { Logger } from '../../../telemetry/logger.ts';
import { sessionCookie, type OpenSession } from '../open-session.ts';
import { PROVIDER_PREFIX } from '../provider-prefix.ts';
import { identityIn, isGiven, lacksClaims, type Identity, type IdentityRules } from './identity.ts';
import { loginPage } from './login-page.ts';
import { NO_LOGIN_COOKIE, type LoginState, type LoginStates } from './login-state.ts';
import { codeSaid, ProviderFault, reasonOf } from './provider-fault.ts';
import { identityProblem, providerProblem } from './provider-problems.ts';
import type { LoggedIn, Provider } from './provider.ts';
import { returnPath } from './return-to.ts';

export interface LoginParts {
  readonly provider: Provider;
  readonly rules: IdentityRules;
  readonly states: LoginStates;
  readonly openSession: OpenSession;
  /** Whoever the provider knows and who may do nothing here is in the audit log. */
  readonly refusals: RefusalLog;
  /** The address under which browsers reach this server. */
  readonly publicUrl: string;
  readonly log: Logger;
}

const HTML = 'text/html; charset=utf-8';

const page = (description: string) => ({ description, schema: z.string(), contentType: HTML });

/** Any query: the provider adds what it likes, and a person who comes with a broken link gets a page. */
const anyQuery = () => z.record(z.string(), z.union([z.string(), z.array(z.string())]));

/** A login that did not succeed, with what only the log says. */
class LoginFailure extends Problem {
  readonly reason: string;
  /** The login is still under way in this browser: something else has come with the request. */
  readonly goesOn: boolean;

  constructor(detail: string, { reason = detail, goesOn = false } = {}) {
    super('login_failed', detail);
    this.reason = reason;
    this.goesOn = goesOn;
  }
}

/** Why a browser has no login that could end. */
const WITHOUT_LOGIN = {
  missing: 'this browser has begun no login, or the login has ended already; begin again',
  unreadable: 'the login of this browser cannot be read; begin again',
  expired: 'the login took longer than ten minutes; begin again',
} as const;

/**
 * The pages by which a person logs in. They are for browsers: what goes wrong is a page too, and nothing that the
 * provider or an address says gets into it as it is.
 */
export function loginRoutes({
  provider,
  rules,
  states,
  openSession,
  refusals,
  publicUrl,
  log,
}: LoginParts): readonly Route[] {
  const begin = defineRoute({
    method: 'get',
    path: '/login',
    summary: 'Begin a login with the provider',
    scope: 'public',
    internal: true,
    query: anyQuery(),
    responses: { 302: page('To the provider'), 503: page('The provider does not answer') },
    handler: async (request) => {
      try {
        const { return_to: wanted } = request.query;
        const { state, cookie } = await states.begin(returnPath(typeof wanted === 'string' ? wanted : undefined));
        const url = await provider.loginUrl(state);
        return { status: 302 as const, headers: { Location: url.href, 'Set-Cookie': cookie }, body: '' };
      } catch (error) {
        return failure(error, request, log);
      }
    },
  });

  /** Returns the login that this browser has begun and that the provider answers. */
  const loginOf = async ({ rawHeaders, query }: Pick<RequestInfo, 'rawHeaders'> & Query): Promise<LoginState> => {
    const login = await states.read(rawHeaders.cookie);
    if (typeof login === 'string') throw new LoginFailure(WITHOUT_LOGIN[login]);
    if (query['state'] === login.state) return login;
    // Whoever sends somebody here with a code of their own must not end the login that is under way.
    const detail = 'this is the answer to another login than the one that this browser has begun last';
    throw new LoginFailure(detail, { goesOn: true });
  };

  const identify = async ({ claims, moreClaims }: LoggedIn) => {
    const more = moreClaims !== null && lacksClaims(claims, rules) ? await moreClaims() : {};
    return identityIn(joined(claims, more), rules);
  };

  const end = defineRoute({
    method: 'get',
    path: '/login/callback',
    summary: 'End a login with the provider',
    scope: 'public',
    internal: true,
    query: anyQuery(),
    responses: {
      303: page('Logged in'),
      400: page('The login did not succeed'),
      403: page('The account has no access'),
      503: page('The provider or PostgreSQL does not answer'),
    },
    handler: async (request) => {
      try {
        const login = await loginOf(request);
        const identity = await provider
          .finish(withQuery(provider.callback, request.query), login)
          .then(identify)
          .catch(refuseLogin);
        if (identity.kind !== 'person') throw noted(identity, request, refusals);
        const opened = await openSession(
          { kind: 'provider', name: identity.name, grant: identity.grant.value },
          { address: request.clientAddress, traceId: request.trace.traceId },
        );
        // A whole address, so that no path can be taken for the name of a server.
        const headers = {
          Location: new URL(login.returnTo, publicUrl).href,
          'Set-Cookie': [sessionCookie(opened), NO_LOGIN_COOKIE],
        };
        return { status: 303 as const, headers, body: '' };
      } catch (error) {
        return failure(error, request, log);
      }
    },
  });

  return [begin, end];
}

/** Returns the problem of somebody who may not log in, after it was noted for the audit log. */
function noted(
  identity: Exclude<Identity, { kind: 'person' }>,
  { clientAddress: address, trace: { traceId } }: Pick<RequestInfo, 'clientAddress' | 'trace'>,
  refusals: RefusalLog,
): Problem {
  const problem = identityProblem(identity);
  const client = identity.kind === 'no-grant' ? PROVIDER_PREFIX + identity.name : '';
  refusals.note({ client, action: 'session.open', code: problem.code, object: null, address, traceId });
  return problem;
}

interface Query {
  readonly query: Readonly<Record<string, string | string[]>>;
}

function withQuery(address: string, query: Query['query']): URL {
  const url = new URL(address);
  for (const [name, values] of Object.entries(query)) {
    for (const value of [values].flat()) url.searchParams.append(name, value);
  }
  return url;
}

/** What the ID token says counts more. An address is verified only if neither of the two denies it. */
function joined(claims: LoggedIn['claims'], more: LoggedIn['claims']): LoggedIn['claims'] {
  const denies = [claims, more].some(({ email_verified: verified }) => String(verified).toLowerCase() === 'false');
  const said = Object.fromEntries(Object.entries(claims).filter(([, value]) => isGiven(value)));
  return { ...more, ...said, ...(denies ? { email_verified: false } : {}) };
}

/** Whatever the provider or the library refuses is a login that did not succeed. The reason is for the log. */
function refuseLogin(error: unknown): never {
  if (error instanceof ProviderFault || error instanceof Problem) throw error;
  const code = codeSaid(error);
  const why = code === null ? '' : ` (${code})`;
  throw new LoginFailure(`the provider's answer was not accepted${why}; begin again`, { reason: reasonOf(error) });
}

/** Makes the page of a failure, and its line in the log. Everything else is a fault of the service. */
function failure(error: unknown, { trace, annotate }: Pick<RequestInfo, 'trace' | 'annotate'>, log: Logger) {
  const problem = problemOf(error);
  const reason = error instanceof LoginFailure ? error.reason : reasonOf(error);
  annotate({ code: problem.code });
  log.warn({ trace_id: trace.traceId, code: problem.code, reason }, 'a login did not succeed');
  const goesOn = error instanceof LoginFailure && error.goesOn;
  return {
    status: problem.status as 503,
    headers: { ...problem.headers, ...(goesOn ? {} : { 'Set-Cookie': NO_LOGIN_COOKIE }) },
    body: loginPage(problem, trace.traceId),
  };
}

function problemOf(error: unknown): Problem {
  if (error instanceof Problem) return error;
  if (error instanceof ProviderFault) return providerProblem(error);
  if (error instanceof StoreUnavailableError && error.store === 'postgresql') {
    const headers = { 'Retry-After': '5' };
    return new Problem('postgresql_unavailable', 'the service cannot reach its database at the moment', { headers });
  }
  throw error;
}
