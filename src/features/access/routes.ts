import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { CLIENT_NAME, CLIENT_NAME_RULE, isClientName, SELF } from '../../core/access/client.ts';
import { NAME_PATTERN, PATTERN_LENGTH_MAX, PATTERN_RULE } from '../../core/access/name-patterns.ts';
import { makeSecret, SECRET_ID } from '../../core/access/secret.ts';
import { givenTime } from '../../given/given-time.ts';
import { givenLabel, givenText } from '../../given/given-values.ts';
import { actorOf } from '../../http/access/actor.ts';
import {
  actionsMeta,
  limitsSchema,
  queuesMeta,
  rightsOf,
  rightsSchema,
  roleSchema,
  scopeSchema,
} from '../../http/access/client-rights.ts';
import { invalidRequest } from '../../http/field-errors.ts';
import type { Cursors } from '../../http/paging/cursors.ts';
import { pageQuery, pageSchema } from '../../http/paging/paging.ts';
import { Problem } from '../../http/problem.ts';
import { defineRoute, type RequestInfo, type Route } from '../../http/route.ts';
import type { Database } from '../../postgres/database.ts';
import { createClientChanges, type ClientChanges } from './client-changes.ts';
import { createClientStore, type ClientStore, type Expiry } from './client-store.ts';
import { clientSchema, clientView, fileClientView, type ClientView } from './client-view.ts';
import type { RunningDirectory } from './directory/directory.ts';
import {
  completeTerms,
  grantedScopes,
  NOTE_LENGTH_MAX,
  PATTERNS_MAX,
  withoutUndefined,
  type PartialTerms,
} from './terms.ts';

export interface ClientRoutesOptions {
  readonly database: Pick<Database, 'run' | 'transaction'>;
  readonly directory: Pick<RunningDirectory, 'files' | 'isFiled' | 'refresh'>;
  readonly cursors: Cursors;
}

interface Parts extends Omit<ClientRoutesOptions, 'database'> {
  readonly store: ClientStore;
  readonly changes: ClientChanges;
}

/** Makes the routes that manage clients, and the one that tells a client what it may do. */
export function clientRoutes({ database, directory, cursors }: ClientRoutesOptions): Route[] {
  const parts = { store: createClientStore(database.run), changes: createClientChanges(database), directory, cursors };
  return [
    listClients(parts),
    createClient(parts),
    showSelf(),
    showClient(parts),
    changeClient(parts),
    revokeClient(parts),
    rotateSecret(parts),
    revokeSecret(parts),
  ];
}

const clientName = z
  .string()
  .regex(CLIENT_NAME, `expected ${CLIENT_NAME_RULE}`)
  .refine(isClientName, `expected ${CLIENT_NAME_RULE}`)
  .meta({ example: 'shop' });

const nameParams = z.object({ name: givenText().meta({ description: 'name of a client', example: 'shop' }) });

const patterns = z
  .array(z.string().max(PATTERN_LENGTH_MAX).regex(NAME_PATTERN, `expected ${PATTERN_RULE}`))
  .max(PATTERNS_MAX);

/** What can be said of a client. Each member is optional. */
const termsShape = {
  role: roleSchema.optional().meta({ description: 'a set of scopes; give either a role or scopes' }),
  scopes: z.array(scopeSchema).min(1).optional(),
  queues: patterns.optional().meta(queuesMeta),
  actions: patterns.optional().meta(actionsMeta),
  limits: z.strictObject(limitsSchema.shape).partial().optional(),
  expires_at: givenTime().nullable().optional(),
  note: givenLabel().max(NOTE_LENGTH_MAX).optional(),
};

// The handlers check these two rules. They stand here for the OpenAPI document.
const createBody = z
  .strictObject({ name: clientName, ...termsShape })
  .meta({ oneOf: [{ required: ['role'] }, { required: ['scopes'] }] });
const changeBody = z.strictObject(termsShape).meta({ not: { required: ['role', 'scopes'] } });

const EXAMPLE_TERMS = { role: 'submitter', queues: ['orders.*'], limits: { rate_per_minute: 600 } } as const;

const withSecret = clientSchema
  .extend({ secret: z.string().meta({ description: 'the secret; it is shown only in this answer' }) })
  .meta({ id: 'ClientWithSecret' });

const withRevoked = (description: string) => z.enum(['true', 'false']).default('false').meta({ description });

function listClients({ store, directory, cursors }: Parts) {
  return defineRoute({
    method: 'get',
    path: '/clients',
    summary: 'List clients by name',
    scope: 'admin',
    query: z.object({ ...pageQuery(), revoked: withRevoked('whether revoked clients are listed too') }),
    responses: { 200: { description: 'A page of clients', schema: pageSchema(clientSchema) } },
    problems: ['invalid_cursor'],
    async handler({ query: { cursor, limit, revoked } }) {
      const scope = { route: 'GET /clients', filter: { revoked }, at: 'query:cursor' };
      const after = (await cursors.open(scope, z.object({ after: z.string() }), cursor))?.after ?? '';
      const records = await store.list(after, limit + 1, revoked === 'true');
      const files = [...directory.files().values()].filter(({ client: { name } }) => name > after);
      const filed = new Set(files.map(({ client: { name } }) => name));
      // A client in files counts instead of one of the same name in PostgreSQL.
      const views = [...files.map(fileClientView), ...records.filter(({ name }) => !filed.has(name)).map(clientView)];
      const items = views.toSorted((one, other) => (one.name < other.name ? -1 : 1)).slice(0, limit);
      const last = views.length > limit ? items.at(-1) : undefined;
      const next = await cursors.seal(scope, last === undefined ? null : { after: last.name });
      return { body: { items, next_cursor: next } };
    },
  });
}

function createClient(parts: Parts) {
  return defineRoute({
    method: 'post',
    path: '/clients',
    summary: 'Create a client and its first secret',
    scope: 'admin',
    audit: 'client.create',
    description:
      'The answer shows the secret, and nothing shows it again. Whoever has the scope `admin` may create clients that ' +
      'may do everything. Without `queues` and `actions`, a client may use all of them, except `http.request` and ' +
      '`kubernetes.job`. If the answer is lost, the client exists: rotate its secret.',
    body: createBody,
    bodyExample: { name: 'shop', ...EXAMPLE_TERMS },
    responses: { 201: { description: 'The client with its secret', schema: withSecret } },
    problems: ['client_exists', 'client_in_files'],
    async handler(request) {
      const { name, ...given } = request.body;
      beginChange(parts, request, name);
      const { expiresAt = null, ...terms } = termsOf(given);
      const { scopes } = terms;
      if (scopes === undefined) {
        throw invalidRequest([{ path: '/role', code: 'missing', message: 'a client needs a role or scopes' }]);
      }
      const secret = makeSecret(randomBytes);
      const whole = { ...completeTerms(terms, scopes), expiresAt };
      const created = await parts.changes.create(actorOf(request), name, whole, secret);
      if (!created) throw new Problem('client_exists', `the name ${name} is or was the name of another client`);
      return { status: 201 as const, body: { ...(await shownAfter(parts, name)), secret: secret.text } };
    },
  });
}

function showSelf() {
  return defineRoute({
    method: 'get',
    path: `/clients/${SELF}`,
    summary: 'Show who I am and what I may do',
    scope: 'any',
    description: 'While nobody needs a key (`AUTH=open`), the name is empty, and everything is allowed.',
    responses: { 200: { description: 'The client of the request', schema: rightsSchema } },
    handler: async ({ client }) => ({ body: rightsOf(client) }),
  });
}

function showClient({ store, directory }: Parts) {
  return defineRoute({
    method: 'get',
    path: '/clients/{name}',
    summary: 'Show a client',
    scope: 'admin',
    params: nameParams,
    query: z.object({ revoked: withRevoked('whether a revoked client is shown too') }),
    responses: { 200: { description: 'The client', schema: clientSchema } },
    problems: ['client_not_found'],
    async handler({ params: { name }, query: { revoked } }) {
      const filed = directory.files().get(name);
      if (filed !== undefined) return { body: fileClientView(filed) };
      const record = await store.show(name);
      if (record === null || (record.revokedAt !== null && revoked === 'false')) throw unknownClient(name);
      return { body: clientView(record) };
    },
  });
}

function changeClient(parts: Parts) {
  return defineRoute({
    method: 'patch',
    path: '/clients/{name}',
    summary: 'Change what a client may do',
    scope: 'admin',
    audit: 'client.change',
    description:
      'What is not given stays as it is; null removes a limit or an expiry. Its secrets stay valid. All processes follow ' +
      'within five seconds.',
    params: nameParams,
    body: changeBody,
    bodyExample: EXAMPLE_TERMS,
    responses: { 200: { description: 'The client as it is now', schema: clientSchema } },
    problems: ['client_not_found', 'client_in_files'],
    async handler(request) {
      const { name } = request.params;
      beginChange(parts, request, name);
      const terms = termsOf(request.body);
      if (!(await parts.changes.change(actorOf(request), name, terms))) throw unknownClient(name);
      return { body: await shownAfter(parts, name) };
    },
  });
}

function revokeClient(parts: Parts) {
  return defineRoute({
    method: 'delete',
    path: '/clients/{name}',
    summary: 'Revoke a client for good',
    scope: 'admin',
    audit: 'client.revoke',
    description:
      'All its secrets end, everywhere within five seconds. Its name stays taken, because idempotency keys and the audit ' +
      'log contain it.',
    params: nameParams,
    responses: { 204: { description: 'The client is revoked', schema: z.undefined() } },
    problems: ['client_not_found', 'client_in_files'],
    async handler(request) {
      const { name } = request.params;
      beginChange(parts, request, name);
      if (!(await parts.changes.revoke(actorOf(request), name))) throw unknownClient(name);
      await parts.directory.refresh();
      return { status: 204 as const, body: undefined };
    },
  });
}

/** The older secret stays valid for this many seconds, unless the request gives another time. */
const OVERLAP = 86_400;
/** The longest time that a request may give. */
const OVERLAP_MAX = 30 * 86_400;

function rotateSecret(parts: Parts) {
  return defineRoute({
    method: 'post',
    path: '/clients/{name}/rotate',
    summary: 'Give a client a new secret',
    scope: 'admin',
    audit: 'client.rotate',
    description:
      'The answer shows the new secret, and nothing shows it again. The older secret ends after `overlap`, so that all ' +
      'users of the client can change to the new one before. At most two secrets are valid at the same time.',
    params: nameParams,
    body: z
      .strictObject({
        overlap: z.number().min(0).max(OVERLAP_MAX).default(OVERLAP).meta({
          description: 'seconds for which the older secret stays valid; 0 ends it at once',
        }),
      })
      .default({ overlap: OVERLAP }),
    bodyExample: { overlap: 3_600 },
    responses: { 200: { description: 'The client with its new secret', schema: withSecret } },
    problems: ['client_not_found', 'client_in_files', 'too_many_secrets'],
    async handler(request) {
      const { name } = request.params;
      beginChange(parts, request, name);
      const secret = makeSecret(randomBytes);
      const overlapMs = request.body.overlap * 1_000;
      const refused = await parts.changes.rotate(actorOf(request), name, secret, overlapMs);
      if (refused === 'unknown') throw unknownClient(name);
      if (refused === 'full') throw new Problem('too_many_secrets', 'two secrets of the client are valid already');
      return { body: { ...(await shownAfter(parts, name)), secret: secret.text } };
    },
  });
}

function revokeSecret(parts: Parts) {
  return defineRoute({
    method: 'delete',
    path: '/clients/{name}/secrets/{id}',
    summary: 'Revoke one secret of a client',
    scope: 'admin',
    audit: 'client.revoke',
    description: 'It ends everywhere within five seconds. The client stays, also without any secret.',
    params: nameParams.extend({ id: z.string().regex(SECRET_ID, 'expected the public id of a secret') }),
    responses: { 204: { description: 'The secret is revoked', schema: z.undefined() } },
    problems: ['secret_not_found', 'client_in_files'],
    async handler(request) {
      const { name, id } = request.params;
      beginChange(parts, request, name);
      if (!(await parts.changes.revokeSecret(actorOf(request), name, id))) {
        throw new Problem('secret_not_found', `the client ${JSON.stringify(name)} has no secret ${id}`);
      }
      await parts.directory.refresh();
      return { status: 204 as const, body: undefined };
    },
  });
}

/** Reads the terms of a body. Members that are not given are not in the result. */
function termsOf({
  role,
  scopes,
  queues,
  actions,
  limits,
  expires_at,
  note,
}: z.output<typeof changeBody>): PartialTerms & Partial<Expiry> {
  if (role !== undefined && scopes !== undefined) {
    throw invalidRequest([{ path: '/scopes', code: 'contradiction', message: 'expected either a role or scopes' }]);
  }
  const inMs = (given: number | null | undefined): number | null | undefined =>
    typeof given === 'number' ? Math.round(given * 1_000) : given;
  return withoutUndefined({
    scopes: grantedScopes(role, scopes),
    queues,
    actions,
    limits: withoutUndefined({
      ratePerMinute: limits?.rate_per_minute,
      burst: limits?.burst,
      unfinishedMax: limits?.unfinished_max,
      delayMaxMs: inMs(limits?.delay_max),
      timeoutMaxMs: inMs(limits?.timeout_max),
    }),
    expiresAt: expires_at,
    note,
  });
}

/**
 * Lets the line of the request name the client that it changes.
 * @throws Problem `client_in_files`
 */
function beginChange({ directory }: Parts, { annotate }: Pick<RequestInfo, 'annotate'>, name: string): void {
  annotate({ object_client: name });
  if (!directory.isFiled(name)) return;
  throw new Problem('client_in_files', `the client ${name} is kept in the files of CLIENTS_DIR`);
}

/** Lets this process follow the change, so that the next request to it finds the client as the answer shows it. */
async function shownAfter({ store, directory }: Parts, name: string): Promise<ClientView> {
  const [record] = await Promise.all([store.show(name), directory.refresh()]);
  if (record === null) throw unknownClient(name);
  return clientView(record);
}

function unknownClient(name: string): Problem {
  return new Problem('client_not_found', `no client is named ${JSON.stringify(name)}`);
}
