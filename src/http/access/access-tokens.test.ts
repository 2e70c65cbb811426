import { describe, expect, it } from 'vitest';
import { ANYBODY } from '../../core/access/client.ts';
import { createMetrics } from '../../telemetry/metrics.ts';
import type { RequestInfo } from '../route.ts';
import { looksLikeAccessToken } from './access-tokens.ts';
import type { Identified } from './client-directory.ts';
import { createKeyAuthentication } from './key-authentication.ts';
import { createWrongKeys } from './wrong-keys.ts';

const SECRET = 'a.secret-of-a-client-in-files.which-looks-like-a-token';
const TOKEN = 'eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbm5hIn0.c2lnbmF0dXJl';
const client = { ...ANYBODY, name: 'files' };
const person = { ...ANYBODY, name: 'oidc:anna@example.org' };

function fixture(found: Identified = { kind: 'known', client: person }) {
  const asked: string[] = [];
  const noted: object[] = [];
  const authentication = createKeyAuthentication({
    directory: {
      identify: (secret) => (secret === SECRET ? { kind: 'known', client } : { kind: 'unknown' }),
      isEmpty: () => false,
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
  const request = (key: string): RequestInfo => ({
    trace: { traceId: 'test', traceparent: null },
    clientAddress: '192.0.2.1',
    client: ANYBODY,
    rawHeaders: { authorization: `Bearer ${key}` },
    setHeader: () => {},
    annotate: (fields) => void noted.push(fields),
  });
  return { asked, noted, clientOf: async (key: string) => authentication.clientOf(request(key)) };
}

describe('an access token', () => {
  it('is a key beside the secrets of clients', async () => {
    const { asked, clientOf } = fixture();
    expect(await clientOf(TOKEN)).toBe(person);
    expect(asked).toEqual([TOKEN]);
  });

  it('is not looked for in a secret of a client, whatever that looks like', async () => {
    const { asked, clientOf } = fixture();
    expect(await clientOf(SECRET)).toBe(client);
    await expect(clientOf('no token at all')).rejects.toMatchObject({ code: 'unauthenticated' });
    expect(asked).toEqual([]);
  });

  it('that is wrong looks like any wrong key, and only the log has the reason', async () => {
    const { noted, clientOf } = fixture({ kind: 'unknown', reason: 'it is not for OIDC_AUDIENCE' });
    await expect(clientOf(TOKEN)).rejects.toMatchObject({ code: 'unauthenticated', message: 'the key is not valid' });
    expect(noted).toEqual([{ token_refused: 'it is not for OIDC_AUDIENCE' }]);
  });

  it('that has expired says so', async () => {
    await expect(fixture({ kind: 'expired', of: 'token' }).clientOf(TOKEN)).rejects.toMatchObject({
      code: 'secret_expired',
      message: expect.stringContaining('token'),
    });
  });
});

it.each([
  [TOKEN, true],
  ['a.b.', true],
  ['a.b.c', true],
  ['a.b', false],
  ['.b.c', false],
  ['a..c', false],
  ['a.b.c.d.e', false],
  ['a.b.c=', false],
  ['sch_SGwcPipw_HgheuO7GTTt78ntESbdeb5mr6hE8ug922L3KbM', false],
])('%s looks like a token: %s', (text, expected) => {
  expect(looksLikeAccessToken(text)).toBe(expected);
});
