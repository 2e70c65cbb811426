import { z } from 'zod';
import { requestActor } from '../../core/access/audit.ts';
import { ANYBODY } from '../../core/access/client.ts';
import { hashOfSecret } from '../../core/access/secret.ts';
import { givenText } from '../../given/given-values.ts';
import { actorOf } from '../../http/access/actor.ts';
import { rightsOf, rightsSchema } from '../../http/access/client-rights.ts';
import type { SecretCheck } from '../../http/access/secret-check.ts';
import { NO_SESSION_COOKIE, sessionTokens } from '../../http/access/session-cookie.ts';
import type { Cursors } from '../../http/paging/cursors.ts';
import { pageQuery, pageSchema } from '../../http/paging/paging.ts';
import { Problem } from '../../http/problem.ts';
import { defineRoute, type RequestInfo, type Route } from '../../http/route.ts';
import { time } from '../../http/task-parts.ts';
import { isoTime } from '../../postgres/reads/iso-time.ts';
import type { LoginOptions } from './login-options.ts';
import { sessionCookie, type OpenSession } from './open-session.ts';
import type { SessionEnds } from './session-ends.ts';
import type { SessionListRow, SessionReads } from './session-reads.ts';

export interface SessionRoutesOptions {
  readonly open: OpenSession;
  readonly ends: SessionEnds;
  readonly reads: SessionReads;
  readonly cursors: Cursors;
  /** Finds the client of a secret; null while nobody has to say who they are. */
  readonly checkSecret: SecretCheck | null;
  readonly login: LoginOptions;
}

/** Makes the routes with which people log in and out, and those that show and end the sessions of others. */
export function sessionRoutes(options: SessionRoutesOptions): Route[] {
  return [
    showLoginOptions(options),
    openWithSecret(options),
    showSession(),
    endOwnSession(options),
    listSessions(options),
    endSession(options),
    endSessionsOfClient(options),
  ];
}

function showLoginOptions({ login }: SessionRoutesOptions) {
  return defineRoute({
    method: 'get',
    path: '/login-options',
    summary: 'Show how people can log in',
    scope: 'public',
    tags: ['session'],
    responses: {
      200: {
        description: 'The ways to log in',
        schema: z
          .object({
            secret: z.boolean().meta({
              description: 'whether a secret of a client can be used; false while nobody has to log in',
            }),
            provider: z
              .object({ name: z.string(), url: z.string().meta({ description: 'path at which a login begins' }) })
              .nullable()
              .meta({ description: 'the provider by which people can log in; null: there is none' }),
          })
          .meta({ id: 'LoginOptions' }),
      },
    },
    handler: async () => ({ body: login }),
  });
}

const HOW = {
  secret: 'a session that was opened with a secret',
  provider: 'a session that was opened by a provider',
  key: 'a key in the header `Authorization`',
  open: 'nobody has to say who they are',
} as const;

const whoSchema = z
  .object({
    how: z.enum(Object.keys(HOW) as [keyof typeof HOW]).meta({
      description: `what says who sends the request: ${Object.entries(HOW)
        .map(([how, meaning]) => `\`${how}\`: ${meaning}`)
        .join('; ')}`,
    }),
    id: z.uuid().nullable().meta({ description: 'id of the session; null: the request has none' }),
    expires_at: time().nullable().meta({ description: 'when the session ends; null: the request has none' }),
    client: rightsSchema,
  })
  .meta({ id: 'Session', description: 'Who sends the requests of this browser or program' });

type WhoView = z.input<typeof whoSchema>;

/** The longest secret: `CLIENTS_DIR` takes no longer ones. */
const SECRET_LENGTH_MAX = 1_024;

function openWithSecret({ open, checkSecret }: SessionRoutesOptions) {
  return defineRoute({
    method: 'post',
    path: '/session',
    summary: 'Log in with a secret',
    scope: 'public',
    forBrowsers: true,
    audit: 'session.open',
    description:
      'The answer sets the cookie of a session, with which the browser may then do what the client of the secret may do. ' +
      'The session ends when its time is over (`SESSION_TTL`), when it is ended, and within five seconds after its secret or ' +
      'its client has. A client has at most 50 sessions; the oldest one ends when another one begins. Programs send their ' +
      'secret with each request instead.',
    body: z.strictObject({
      secret: z
        .string()
        .trim()
        .min(1, 'expected a secret')
        .max(SECRET_LENGTH_MAX, `expected at most ${SECRET_LENGTH_MAX} characters`)
        .meta({ format: 'password', writeOnly: true, description: 'secret of a client' }),
    }),
    bodyExample: { secret: 'sch_…' },
    bodyLimit: 8_192,
    secretBody: true,
    responses: {
      200: {
        description: 'The session that has begun',
        schema: whoSchema,
        headers: { 'Set-Cookie': 'the cookie of the session' },
      },
    },
    problems: [
      'unauthenticated',
      'secret_expired',
      'too_many_wrong_keys',
      'nobody_logs_in',
      'cross_site',
      'unknown_host',
    ],
    async handler({ body: { secret }, ...info }) {
      if (checkSecret === null) throw new Problem('nobody_logs_in', 'the API asks nobody who they are (AUTH)');
      const { client, secretId } = await checkSecret(secret, info);
      const secretHash = Buffer.from(hashOfSecret(secret), 'hex');
      const holder = { kind: 'secret', client: client.name, secretId, secretHash } as const;
      const opened = await open(holder, { address: info.clientAddress, traceId: info.trace.traceId });
      const { id, expiresAtMs } = opened;
      info.annotate({ session: id, client: client.name });
      const body = whoView({ client, session: { id, openedBy: 'secret', expiresAtMs } });
      return { body, headers: { 'Set-Cookie': sessionCookie(opened) } };
    },
  });
}

function showSession() {
  return defineRoute({
    method: 'get',
    path: '/session',
    summary: 'Show who I am, how that is known, and until when',
    scope: 'any',
    responses: { 200: { description: 'Who sends the request', schema: whoSchema } },
    handler: async (request) => ({ body: whoView(request) }),
  });
}

function whoView({ client, session }: Pick<RequestInfo, 'client' | 'session'>): WhoView {
  const withoutSession = client === ANYBODY ? 'open' : 'key';
  return {
    how: session?.openedBy ?? withoutSession,
    id: session?.id ?? null,
    expires_at: session === null ? null : new Date(session.expiresAtMs).toISOString(),
    client: rightsOf(client),
  };
}

function endOwnSession({ ends }: SessionRoutesOptions) {
  return defineRoute({
    method: 'delete',
    path: '/session',
    summary: 'Log out',
    scope: 'public',
    forBrowsers: true,
    audit: 'session.end',
    description:
      'Ends the session of the request and removes its cookie from the browser, also if the request has a key as well. A ' +
      'request without a session, or with one that has ended, gets the same answer.',
    responses: {
      204: {
        description: 'The browser has no session any more',
        schema: z.undefined(),
        headers: { 'Set-Cookie': 'removes the cookie' },
      },
    },
    problems: ['cross_site', 'unknown_host'],
    async handler({ rawHeaders, clientAddress, trace, annotate }) {
      for (const token of sessionTokens(rawHeaders)) {
        const ended = await ends.own(token, (name) => requestActor(name, clientAddress, trace.traceId));
        if (ended !== null) annotate({ session: ended.id, client: ended.client });
      }
      return { status: 204 as const, body: undefined, headers: { 'Set-Cookie': NO_SESSION_COOKIE } };
    },
  });
}

const sessionSchema = z
  .object({
    id: z.uuid(),
    client: z.string().meta({ description: 'name of the client; `oidc:` and the name of a person' }),
    opened_by: z.enum(['secret', 'provider']),
    secret_id: z.string().nullable().meta({
      description: 'public id of the secret; null for a client in files and for a provider',
    }),
    grant: z.string().nullable().meta({ description: 'the grant that a provider confirmed; otherwise null' }),
    address: z.string().meta({ description: 'where the request to log in came from' }),
    created_at: time(),
    used_at: time().meta({ description: 'to within about a minute' }),
    expires_at: time(),
  })
  .meta({ id: 'OpenSession', description: 'A session that has not ended' });

/** Time and id of a page's last row. The time is PostgreSQL's text, because its microseconds matter. */
const sessionPosition = z.tuple([
  z.string().regex(/^\d{4,6}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?[+-]\d\d(:\d\d){0,2}$/),
  z.uuid(),
]);

const ofClient = () => givenText().meta({ description: 'name of a client', example: 'shop' });

function listSessions({ reads, cursors }: SessionRoutesOptions) {
  return defineRoute({
    method: 'get',
    path: '/sessions',
    summary: 'List the sessions of all people, newest first',
    scope: 'admin',
    query: z.strictObject({ client: ofClient().optional(), ...pageQuery() }),
    responses: { 200: { description: 'A page of sessions', schema: pageSchema(sessionSchema) } },
    problems: ['invalid_cursor'],
    async handler({ query: { client = null, cursor, limit } }) {
      const scope = { route: 'GET /sessions', filter: { client }, at: 'query:cursor' };
      const position = await cursors.open(scope, sessionPosition, cursor);
      const from = position === undefined ? null : { at: position[0], id: position[1] };
      const rows = await reads.list(client, from, limit + 1);
      const items = rows.slice(0, limit);
      const last = rows.length > limit ? items.at(-1) : undefined;
      const next = await cursors.seal(scope, last === undefined ? null : [last.created_at, last.id]);
      return { body: { items: items.map(sessionView), next_cursor: next } };
    },
  });
}

function sessionView(row: SessionListRow): z.input<typeof sessionSchema> {
  const { id, client, secret_id, grant_name, address, created_at, used_at, expires_at } = row;
  return {
    id,
    client,
    opened_by: grant_name === null ? 'secret' : 'provider',
    secret_id,
    grant: grant_name,
    address,
    created_at: isoTime(created_at),
    used_at: isoTime(used_at),
    expires_at: isoTime(expires_at),
  };
}

function endSession({ ends }: SessionRoutesOptions) {
  return defineRoute({
    method: 'delete',
    path: '/sessions/{id}',
    summary: 'End a session',
    scope: 'admin',
    audit: 'session.end',
    description:
      'It is refused everywhere within five seconds. Its secret stays valid: to keep somebody out, revoke that.',
    params: z.object({ id: z.uuid().meta({ description: 'id of a session' }) }),
    responses: { 204: { description: 'The session has ended', schema: z.undefined() } },
    problems: ['session_not_found'],
    async handler(request) {
      const { id } = request.params;
      request.annotate({ object_session: id });
      if (await ends.one(actorOf(request), id)) return { status: 204 as const, body: undefined };
      throw new Problem('session_not_found', `no session has the id ${id}`);
    },
  });
}

function endSessionsOfClient({ ends }: SessionRoutesOptions) {
  return defineRoute({
    method: 'delete',
    path: '/sessions',
    summary: 'End all sessions of a client',
    scope: 'admin',
    audit: 'session.end',
    query: z.strictObject({ client: ofClient() }),
    responses: {
      200: {
        description: 'All of its sessions have ended',
        schema: z.object({ ended: z.int().meta({ description: 'number of sessions that were ended' }) }),
      },
    },
    async handler(request) {
      const { client } = request.query;
      request.annotate({ object_client: client });
      return { body: { ended: await ends.allOf(actorOf(request), client) } };
    },
  });
}
