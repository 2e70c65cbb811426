import { describe, expect, it } from 'vitest';
import { ANYBODY, type Client } from '../../core/access/client.ts';
import { StoreUnavailableError } from '../../core/errors.ts';
import type { Identified } from '../../http/access/client-directory.ts';
import { createLiveSessions } from './live-sessions.ts';
import type { StoredSession } from './session-store.ts';
import { hashOfToken, makeToken } from './session-token.ts';

const SECOND = 1_000;
const shop: Client = { ...ANYBODY, name: 'shop' };
const mary: Client = { ...ANYBODY, name: 'oidc:mary' };

/** Sessions on a store in memory, which is told what time it is and when to answer. */
function fixture() {
  let nowMs = 1_000_000;
  const rows = new Map<string, StoredSession>();
  const statements: (readonly string[])[] = [];
  const state = { away: false, held: null as Promise<void> | null, secret: KNOWN as Identified | Promise<Identified> };
  const grants = new Map([['admins', mary]]);
  const live = createLiveSessions({
    store: {
      async find(hashes) {
        statements.push(hashes);
        if (state.away) throw new StoreUnavailableError('postgresql', new Error('away'));
        const found = hashes.flatMap((hash) => rows.get(hash) ?? []).map((row) => ({ ...row }));
        await state.held;
        return found;
      },
    },
    directory: { identifyHash: () => state.secret },
    clientOfGrant: (name, grant) => (name === 'mary' ? (grants.get(grant) ?? null) : null),
    clock: { monotonicMs: () => nowMs },
  });
  const add = (changes: Partial<StoredSession> = {}): string => {
    const token = makeToken();
    const hash = hashOfToken(token);
    const rest = { client: 'shop', secretId: 'aaaaaaaa', secretHash: 'ab', grantName: null };
    rows.set(hash, { hash, id: `id-of-${rows.size}`, ...rest, expiresAtMs: 5, endsInMs: 3_600 * SECOND, ...changes });
    return token;
  };
  return {
    live,
    rows,
    statements,
    state,
    grants,
    add,
    end: (token: string) => rows.delete(hashOfToken(token)),
    pass: (ms: number) => void (nowMs += ms),
  };
}

const KNOWN: Identified = { kind: 'known', client: shop, secretId: 'aaaaaaaa' };
const FOUND = { client: shop, session: { openedBy: 'secret' } };

describe('the sessions in memory', () => {
  it('cost one statement in five seconds, however busy they are', async () => {
    const { live, add, statements, pass } = fixture();
    const token = add();
    for (let i = 0; i < 100; i++) {
      expect(await live.find(token)).toMatchObject(FOUND);
      pass(SECOND / 10);
    }
    expect(statements).toHaveLength(2);
  });

  it('are found without waiting while they are remembered', async () => {
    const { live, add } = fixture();
    const token = add();
    await live.find(token);
    expect(live.find(token)).toMatchObject(FOUND);
  });

  it('are refused within five seconds after another process has ended them', async () => {
    const { live, add, end, pass } = fixture();
    const token = add();
    await live.find(token);
    end(token);
    pass(4.9 * SECOND);
    expect(await live.find(token)).not.toBeNull();
    pass(0.1 * SECOND);
    expect(await live.find(token)).toBeNull();
  });

  it('are refused at once after this process has ended them, also if a look-up is under way', async () => {
    const { live, add, end, state } = fixture();
    const token = add();
    const held = Promise.withResolvers<void>();
    state.held = held.promise;
    const before = live.find(token);
    end(token);
    live.forget([hashOfToken(token)]);
    const after = live.find(token);
    held.resolve();
    expect(await before).toBeNull();
    expect(await after).toBeNull();
    expect(live.find(token)).toBeNull();
  });

  it('end when their time is over, also while they are remembered', async () => {
    const { live, add, pass } = fixture();
    const token = add({ endsInMs: 2 * SECOND });
    expect(await live.find(token)).not.toBeNull();
    pass(2 * SECOND);
    expect(await live.find(token)).toBeNull();
  });

  it('that do not exist are looked up once in five seconds', async () => {
    const { live, statements, pass } = fixture();
    const token = makeToken();
    for (let i = 0; i < 10; i++) expect(await live.find(token)).toBeNull();
    expect(statements).toHaveLength(1);
    pass(5 * SECOND);
    expect(await live.find(token)).toBeNull();
    expect(statements).toHaveLength(2);
  });

  it('that do not exist cost a logout no more than that', async () => {
    const { live, add, statements } = fixture();
    const [token, wrong] = [add(), makeToken()];
    for (let i = 0; i < 10; i++) expect(await live.isOpen(wrong)).toBe(false);
    expect(statements).toHaveLength(1);
    expect(await live.isOpen(token)).toBe(true);
  });

  it('are looked up together by few statements when many come at the same time', async () => {
    const { live, add, statements } = fixture();
    const tokens = Array.from({ length: 500 }, () => add());
    const wrong = Array.from({ length: 500 }, makeToken);
    const found = await Promise.all([...tokens, ...wrong].map(async (token) => live.find(token)));
    expect(found.filter((one) => one !== null)).toHaveLength(500);
    expect(statements.length).toBeLessThanOrEqual(5);
    expect(statements.flat()).toHaveLength(1_000);
  });

  it('stay valid for five seconds while PostgreSQL is away, and are not known after that', async () => {
    const { live, add, state, pass } = fixture();
    const token = add();
    await live.find(token);
    state.away = true;
    pass(4.9 * SECOND);
    expect(await live.find(token)).toMatchObject(FOUND);
    pass(0.1 * SECOND);
    await expect(live.find(token)).rejects.toThrow(StoreUnavailableError);
    await expect(live.find(makeToken())).rejects.toThrow(StoreUnavailableError);
    state.away = false;
    expect(await live.find(token)).toMatchObject(FOUND);
  });
});

describe('a session that was opened with a secret', () => {
  it('acts with the current role of its client', async () => {
    const { live, add, state } = fixture();
    const token = add();
    await live.find(token);
    const changed: Client = { ...shop, scopes: new Set(['read']) };
    state.secret = { kind: 'known', client: changed, secretId: 'aaaaaaaa' };
    expect(await live.find(token)).toMatchObject({ client: changed });
  });

  it.each<Identified>([{ kind: 'unknown' }, { kind: 'expired', of: 'secret' }, { kind: 'expired', of: 'client' }])(
    'ends with it: %o',
    async (secret) => {
      for (const found of [secret, Promise.resolve(secret)]) {
        const { live, add, state } = fixture();
        const token = add();
        await live.find(token);
        state.secret = found;
        expect(await live.find(token)).toBeNull();
        // The directory has looked for newer secrets once, which takes a while. That is enough for the next seconds.
        state.secret = new Promise(() => {});
        expect(live.find(token)).toBeNull();
      }
    },
  );

  it('ends when its secret belongs to another client, which only files can do', async () => {
    const { live, add, state } = fixture();
    const token = add({ secretId: null });
    state.secret = { kind: 'known', client: { ...shop, name: 'another' }, secretId: null };
    expect(await live.find(token)).toBeNull();
  });
});

describe('a session that was opened by a provider', () => {
  it('acts with the grant of that name as it is now, and ends with it', async () => {
    const { live, add, grants } = fixture();
    const token = add({ client: 'oidc:mary', secretId: null, secretHash: null, grantName: 'admins' });
    expect(await live.find(token)).toMatchObject({ client: mary, session: { openedBy: 'provider' } });
    grants.delete('admins');
    expect(await live.find(token)).toBeNull();
  });
});
