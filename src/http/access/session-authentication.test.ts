import { describe, expect, it } from 'vitest';
import { ANYBODY, NOBODY, type Client } from '../../core/access/client.ts';
import { StoreUnavailableError } from '../../core/errors.ts';
import { createMetrics } from '../../telemetry/metrics.ts';
import type { ArrivingRequest } from '../middleware/request-scope.ts';
import type { RequestSession } from '../route.ts';
import { createAuthenticationChain } from './chain.ts';
import { createSessionAuthentication } from './session-authentication.ts';
import { SESSION_COOKIE } from './session-cookie.ts';

const person: Client = { ...ANYBODY, name: 'person' };
const program: Client = { ...ANYBODY, name: 'program' };
const session: RequestSession = { id: 'the-id', openedBy: 'secret', expiresAtMs: 1 };
const TOKEN = 'T'.repeat(43);
const cookie = `${SESSION_COOKIE}=${TOKEN}`;

function fixture({ later = false, away = false } = {}) {
  const metrics = createMetrics();
  const asked: string[] = [];
  const link = createSessionAuthentication({
    sessions: {
      find(token) {
        asked.push(token);
        if (away) throw new StoreUnavailableError('postgresql', new Error('away'));
        const found = token === TOKEN ? { session, client: person } : null;
        return later ? Promise.resolve(found) : found;
      },
    },
    metrics,
  });
  const chain = createAuthenticationChain([link], { clientOf: () => program });
  const noted: object[] = [];
  const request = (rawHeaders: ArrivingRequest['rawHeaders']): ArrivingRequest => ({
    trace: { traceId: 'test', traceparent: null },
    clientAddress: '192.0.2.1',
    client: NOBODY,
    session: null,
    rawHeaders,
    setHeader: () => {},
    annotate: (fields) => void noted.push(fields),
  });
  return {
    asked,
    noted,
    async clientOf(headers: ArrivingRequest['rawHeaders']) {
      const info = request(headers);
      const client = await chain.clientOf(info);
      return { client, session: info.session };
    },
    async refusals() {
      const { values } = await metrics.authFailures.get();
      return Object.fromEntries(values.map(({ labels, value }) => [labels.reason, value]));
    },
  };
}

describe('a request with the cookie of a session', () => {
  it.each([false, true])(
    'acts on behalf of its client, and its log line names the session (later: %s)',
    async (later) => {
      const { clientOf, noted } = fixture({ later });
      expect(await clientOf({ cookie })).toEqual({ client: person, session });
      expect(noted).toEqual([{ session: 'the-id' }]);
    },
  );

  it.each(['Bearer sch_x', 'Basic eA==', ''])('is judged by its header if it has one: %j', async (authorization) => {
    const { clientOf, asked } = fixture();
    expect(await clientOf({ cookie, authorization })).toEqual({ client: program, session: null });
    expect(asked).toEqual([]);
  });

  it('is judged by the others if it has only other cookies', async () => {
    const { clientOf } = fixture();
    expect(await clientOf({ cookie: 'theme=dark' })).toEqual({ client: program, session: null });
    expect(await clientOf({})).toEqual({ client: program, session: null });
  });

  it.each([false, true])('is refused if there is no such session (later: %s)', async (later) => {
    const { clientOf, refusals } = fixture({ later });
    await expect(clientOf({ cookie: `${SESSION_COOKIE}=${'X'.repeat(43)}` })).rejects.toMatchObject({
      code: 'session_ended',
      status: 401,
      headers: { 'WWW-Authenticate': 'Bearer realm="scheduler"' },
    });
    expect(await refusals()).toEqual({ session: 1 });
  });

  it('is refused without a look-up if the cookie is no token, or if there are two', async () => {
    const { clientOf, asked } = fixture();
    await expect(clientOf({ cookie: `${SESSION_COOKIE}=x` })).rejects.toMatchObject({ code: 'session_ended' });
    await expect(clientOf({ cookie: `${cookie}; ${cookie}` })).rejects.toMatchObject({
      code: 'unauthenticated',
      status: 401,
      message: expect.stringContaining('several cookies'),
    });
    expect(asked).toEqual([]);
  });

  it('is not refused because PostgreSQL is away', async () => {
    await expect(fixture({ away: true }).clientOf({ cookie })).rejects.toThrow(StoreUnavailableError);
  });
});
