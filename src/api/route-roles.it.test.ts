import { beforeAll, expect, it } from 'vitest';
import { as, clientsInFiles, secretOf } from '../../test/harness/clients.ts';
import { createTestStores } from '../../test/harness/stores.ts';
import { startApi, type Reply, type RunningApi } from '../../test/running-api.ts';
import { ROLES, type Role } from '../core/access/scopes.ts';

const READERS = ['submitter', 'viewer', 'operator', 'admin'] as const;
const OPERATORS = ['operator', 'admin'] as const;
const ADMINS = ['admin'] as const;
const EVERY_CLIENT = ['submitter', 'viewer', 'operator', 'worker', 'admin'] as const;
const ANYBODY = 'anybody';

/**
 * Who gets through to which route. It is written by hand, so that a new route, or a route whose scope was changed,
 * fails this test until somebody has thought about it.
 */
const TABLE: Readonly<Record<string, readonly Role[] | typeof ANYBODY>> = {
  'POST /tasks': ['submitter', 'admin'],
  'POST /tasks/batch': ['submitter', 'admin'],
  'GET /tasks': READERS,
  'GET /tasks/{id}': READERS,
  'GET /tasks/{id}/logs': READERS,
  'POST /tasks/{id}/cancel': OPERATORS,
  'POST /tasks/{id}/reveal': ADMINS,
  'GET /dlq': READERS,
  'GET /dlq/{id}': READERS,
  'POST /dlq/{id}/requeue': OPERATORS,
  'POST /dlq/requeue': OPERATORS,
  'GET /queues': READERS,
  'GET /queues/{name}': READERS,
  'PUT /queues/{name}': OPERATORS,
  'DELETE /queues/{name}': OPERATORS,
  'POST /queues/{name}/pause': OPERATORS,
  'POST /queues/{name}/resume': OPERATORS,
  'GET /workers': READERS,
  'GET /stats': READERS,
  'GET /metrics': OPERATORS,
  'GET /clients': ADMINS,
  'POST /clients': ADMINS,
  'GET /clients/self': EVERY_CLIENT,
  'GET /clients/{name}': ADMINS,
  'PATCH /clients/{name}': ADMINS,
  'DELETE /clients/{name}': ADMINS,
  'POST /clients/{name}/rotate': ADMINS,
  'DELETE /clients/{name}/secrets/{id}': ADMINS,
  'GET /audit': ADMINS,
  'GET /login-options': ANYBODY,
  'POST /session': ANYBODY,
  'GET /session': EVERY_CLIENT,
  'DELETE /session': ANYBODY,
  'GET /sessions': ADMINS,
  'DELETE /sessions': ADMINS,
  'DELETE /sessions/{id}': ADMINS,
  'GET /healthz': ANYBODY,
  'GET /readyz': ANYBODY,
};

/** What the routes of the table are sent, so that they get as far as they can. */
const PARAMETERS: Readonly<Record<string, string>> = { id: '019a5b3c-8f00-7000-8000-0123456789ab', name: 'unknown' };
const BODIES: Readonly<Record<string, unknown>> = {
  'POST /tasks': { payload: 1 },
  'POST /tasks/batch': { tasks: [{ payload: 1 }] },
  'POST /dlq/requeue': { filter: {} },
  'PUT /queues/{name}': { keep_completed: true },
  'POST /session': { secret: secretOf('viewer') },
};

/** What browsers say of requests of our own pages. */
const PAGE = { 'sec-fetch-site': 'same-origin' };

/** Somebody who is no client has no role. */
type Sender = Role | 'none';
const SENDERS: readonly Sender[] = [...(Object.keys(ROLES) as Role[]), 'none'];

let api: RunningApi;
let routes: string[];

beforeAll(async () => {
  const clients = Object.fromEntries(Object.keys(ROLES).map((role) => [role, { role: role as Role }]));
  api = await startApi({ ...(await createTestStores()).env, ...clientsInFiles(clients) });
  const { paths } = (await api.request('/openapi.json')).body as { paths: Record<string, Record<string, unknown>> };
  routes = Object.entries(paths).flatMap(([path, operations]) =>
    Object.keys(operations).map((method) => `${method.toUpperCase()} ${path}`),
  );
});

function send(route: string, headers: Record<string, string>) {
  const [method = '', template = ''] = route.split(' ');
  const path = template.replaceAll(/\{(\w+)\}/g, (_, name: string) => PARAMETERS[name] ?? name);
  const body = BODIES[route];
  return api.request(path, {
    method,
    headers: { ...headers, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
}

/** Logs in with the secret of a client. Returns the headers of requests with the session. */
async function logIn(role: Role): Promise<Record<string, string>> {
  const { status, headers } = await api.post('/session', { secret: secretOf(role) }, PAGE);
  expect(status).toBe(200);
  return { cookie: (headers.get('set-cookie') ?? '').split(';')[0] as string };
}

it('the table has exactly the routes of the OpenAPI document', () => {
  expect(routes.toSorted()).toEqual(Object.keys(TABLE).toSorted());
});

/** Sends a route's request on behalf of everybody. Returns what became of each. */
function outcomesOf(route: string, headersOf: (role: Role) => Promise<Record<string, string>>, more: object = PAGE) {
  return Promise.all(
    SENDERS.map(async (sender) => {
      const { status, body } = await send(route, { ...more, ...(sender === 'none' ? {} : await headersOf(sender)) });
      return [sender, status === 401 || status === 403 ? `${status} ${body.code}` : 'through'] as const;
    }),
  );
}

/** @param through what becomes of a request that its role may send */
function expectedOf(roles: readonly Role[] | typeof ANYBODY, through = 'through') {
  return SENDERS.map((sender) => {
    if (roles === ANYBODY) return [sender, through];
    if (sender === 'none') return [sender, '401 unauthenticated'];
    return [sender, roles.includes(sender) ? through : '403 missing_scope'];
  });
}

it.each(Object.entries(TABLE))('%s lets through only %s, with a key and with a session', async (route, roles) => {
  expect(await outcomesOf(route, async (role) => as(role))).toEqual(expectedOf(roles));
  expect(await outcomesOf(route, logIn)).toEqual(expectedOf(roles));
});

const isRead = (route: string): boolean => route.startsWith('GET ');

/** Leaves out of an answer what differs between any two answers. */
function sense(route: string, { status, body }: Reply): unknown {
  // It has counts of this moment.
  if (typeof body === 'string') return status;
  // It says how the request came in, and that differs on purpose.
  const { how: _how, id: _id, expires_at: _expiresAt, ...rest } = route === 'GET /session' ? body : { ...body };
  const text = JSON.stringify({ ...rest, trace_id: null, next_cursor: typeof rest.next_cursor });
  return [status, text.replaceAll(/"oldest_ready_age":[\d.]+/g, '"oldest_ready_age":0')];
}

it.each(Object.keys(TABLE).filter(isRead))(
  '%s answers a session as it answers the key of the session',
  async (route) => {
    await send('POST /tasks', as('admin'));
    for (const role of Object.keys(ROLES) as Role[]) {
      const cookie = await logIn(role);
      const [byKey, bySession] = [await send(route, as(role)), await send(route, cookie)];
      expect(sense(route, bySession), role).toEqual(sense(route, byKey));
    }
  },
);

it.each(Object.entries(TABLE).filter(([route]) => !isRead(route)))(
  '%s refuses a session that does not say which page sends the request',
  async (route, roles) => {
    expect(await outcomesOf(route, logIn, {})).toEqual(expectedOf(roles, '403 cross_site'));
  },
);

it('a refused request changes nothing, and a secret that nobody has opens nothing', async () => {
  const tasks = async () => (await api.rows<{ count: number }>('SELECT count(*)::int AS count FROM tasks'))[0]?.count;
  const before = await tasks();
  for (const sender of ['viewer', 'operator', 'worker', 'nobody', 'ADMIN', '']) {
    const { status } = await send('POST /tasks', as(sender));
    expect([401, 403]).toContain(status);
  }
  expect(await tasks()).toBe(before);
});

it('a HEAD request needs what its GET needs', async () => {
  const statuses = await Promise.all(
    ['viewer', 'worker', 'none'].map(async (sender) => {
      const headers = sender === 'none' ? {} : as(sender);
      return (await fetch(`${api.url}/tasks`, { method: 'HEAD', headers })).status;
    }),
  );
  expect(statuses).toEqual([200, 403, 401]);
});
