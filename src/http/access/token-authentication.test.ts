import { describe, expect, it } from 'vitest';
import { ANYBODY, NOBODY } from '../../core/access/client.ts';
import { createMetrics } from '../../telemetry/metrics.ts';
import type { ArrivingRequest } from '../middleware/request-scope.ts';
import { Problem } from '../problem.ts';
import { createTokenAuthentication, type IdentifiedToken } from './token-authentication.ts';
import { createWrongKeys } from './wrong-keys.ts';

const SECRET = 'a.secret-of-a-client-in-files.which-looks-like-a-token';
const TOKEN = 'eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbm5hIn0.c2lnbmF0dXJl';
const client = { ...ANYBODY, name: 'files' };
const person = { ...ANYBODY, name: 'oidc:anna@example.org' };

function fixture(found: IdentifiedToken = { kind: 'known', client: person }) {
  const asked: string[] = [];
  const noted: object[] = [];
  const authentication = createTokenAuthentication({
    directory: {
      identify: (secret) => (secret === SECRET ? { kind: 'known', client, secretId: null } : { kind: 'unknown' }),
    },
    tokens: {
      async identify(token) {
        asked.push(token);
        return found;
      },
    },
    wrongKeys: createWrongKeys(),
    metrics: createMetrics(),
  });
  const request = (authorization: string | undefined): ArrivingRequest => ({
    trace: { traceId: 'test', traceparent: null },
    clientAddress: '192.0.2.1',
    client: NOBODY,
    session: null,
    rawHeaders: authorization === undefined ? {} : { authorization },
    setHeader: () => {},
    annotate: (fields) => void noted.push(fields),
  });
  const clientOf = async (info: ArrivingRequest) => authentication.clientOf(info);
  return { asked, noted, request, authentication, clientOf };
}

describe('an access token', () => {
  it('is a key beside the secrets of clients', async () => {
    const { asked, request, clientOf } = fixture();
    expect(await clientOf(request(`Bearer ${TOKEN}`))).toBe(person);
    expect(asked).toEqual([TOKEN]);
  });

  it('is not looked for in a secret of a client that looks like one', async () => {
    const { asked, request, clientOf } = fixture();
    expect(await clientOf(request(`Bearer ${SECRET}`))).toBe(client);
    expect(asked).toEqual([]);
  });

  it('that is wrong looks like any wrong key, and only the log has the reason', async () => {
    const { noted, request, clientOf } = fixture({ kind: 'wrong', reason: 'it is not for OIDC_AUDIENCE' });
    const refused = { code: 'unauthenticated', message: 'the key is not valid' };
    await expect(clientOf(request(`Bearer ${TOKEN}`))).rejects.toMatchObject(refused);
    expect(noted).toEqual([{ token_refused: 'it is not for OIDC_AUDIENCE' }]);
  });

  it('that is wrong too often slows its address down', async () => {
    const { request, clientOf } = fixture({ kind: 'wrong', reason: 'x' });
    const codes: string[] = [];
    for (let sent = 0; sent < 102; sent++) {
      codes.push(await clientOf(request(`Bearer ${TOKEN}`)).then(String, (error: Problem) => error.code));
    }
    expect([codes[99], codes[101]]).toEqual(['unauthenticated', 'too_many_wrong_keys']);
  });

  it('that has expired says so', async () => {
    const { request, clientOf } = fixture({ kind: 'expired' });
    await expect(clientOf(request(`Bearer ${TOKEN}`))).rejects.toMatchObject({
      code: 'secret_expired',
      message: expect.stringContaining('token'),
    });
  });

  it('of a person who may do nothing is refused, and the request has the name for the audit log', async () => {
    const problem = new Problem('no_grant', 'no access');
    const { request, clientOf } = fixture({ kind: 'refused', name: 'oidc:anna@example.org', problem });
    const info = request(`Bearer ${TOKEN}`);
    await expect(clientOf(info)).rejects.toBe(problem);
    expect([info.client.name, info.client.scopes.size]).toEqual(['oidc:anna@example.org', 0]);
  });
});

it.each([
  [`Bearer ${TOKEN}`, true],
  [`bearer   ${TOKEN}`, true],
  ['Bearer a.b.', true],
  ['Bearer a.b.c', true],
  ['Bearer a.b', false],
  ['Bearer .b.c', false],
  ['Bearer a..c', false],
  ['Bearer a.b.c.d.e', false],
  ['Bearer a.b.c=', false],
  [TOKEN, false],
  [`Basic ${TOKEN}`, false],
  ['Bearer sch_SGwcPipw_HgheuO7GTTt78ntESbdeb5mr6hE8ug922L3KbM', false],
  [undefined, false],
])('%s has a token: %s', (header, expected) => {
  const { authentication, request } = fixture();
  expect(authentication.takes(request(header))).toBe(expected);
});
