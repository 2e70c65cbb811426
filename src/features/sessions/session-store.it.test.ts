import { randomUUID } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
import { afterWaitingFor } from '../../../test/harness/lock-waits.ts';
import { openParts, type TestParts } from '../../../test/harness/parts.ts';
import { createTestStores } from '../../../test/harness/stores.ts';
import { createSessionStore, type NewSession, type SessionStore } from './session-store.ts';
import { hashOfToken, makeToken } from './session-token.ts';

let parts: TestParts;
let store: SessionStore;
beforeAll(async () => {
  parts = await openParts((await createTestStores()).env);
  store = createSessionStore(parts.database.run);
});

const sql = <Row extends object>(text: string, values: unknown[] = []): Promise<Row[]> =>
  parts.database.run<Row>({ name: '', text }, values);

let serial = 0;
const newClient = (): string => `client-${++serial}`;

const session = (client: string, changes: Partial<NewSession> = {}): NewSession => ({
  hash: hashOfToken(makeToken()),
  id: randomUUID(),
  client,
  secretId: 'aaaaaaaa',
  secretHash: 'ab'.repeat(32),
  grantName: null,
  address: '192.0.2.1',
  ttlMs: 60_000,
  ...changes,
});

const open = (one: NewSession, most = 50) =>
  parts.database.transaction((run) => createSessionStore(run).open(one, most));

async function opened(client: string, changes: Partial<NewSession> = {}): Promise<NewSession> {
  const one = session(client, changes);
  await open(one);
  return one;
}

const idsOf = async (client: string): Promise<string[]> =>
  (await sql<{ id: string }>('SELECT id FROM sessions WHERE client = $1 ORDER BY created_at, id', [client])).map(
    ({ id }) => id,
  );

const makeOld = (hash: string, column: 'used_at' | 'expires_at', seconds: number) =>
  sql(`UPDATE sessions SET ${column} = now() - $2::float8 * interval '1 second' WHERE hash = decode($1, 'hex')`, [
    hash,
    seconds,
  ]);
const usedSecondsAgo = async (hash: string): Promise<number> => {
  const [row] = await sql<{ ago: number }>(
    `SELECT extract(epoch FROM clock_timestamp() - used_at)::float8 AS ago FROM sessions WHERE hash = decode($1, 'hex')`,
    [hash],
  );
  return row?.ago ?? Number.NaN;
};

describe('sessions in PostgreSQL', () => {
  it('are found by the hash of their token, with who holds them', async () => {
    const one = await opened(newClient());
    const person = await opened('oidc:mary', { secretId: null, secretHash: null, grantName: 'admins' });
    const found = await store.find([one.hash, person.hash, hashOfToken(makeToken())]);
    expect(found.toSorted((a, b) => (a.id === one.id ? -1 : b.id === one.id ? 1 : 0))).toEqual(
      [one, person].map(({ hash, id, client, secretId, secretHash, grantName }) => ({
        hash,
        id,
        client,
        secretId,
        secretHash,
        grantName,
        expiresAtMs: expect.any(Number),
        endsInMs: expect.any(Number),
      })),
    );
    for (const { endsInMs } of found) expect(endsInMs).toBeGreaterThan(50_000);
    for (const { endsInMs } of found) expect(endsInMs).toBeLessThanOrEqual(60_000);
  });

  it('are not found when their time is over', async () => {
    const one = await opened(newClient());
    await makeOld(one.hash, 'expires_at', 1);
    expect(await store.find([one.hash])).toEqual([]);
  });

  it('belong either to a secret or to a grant', async () => {
    for (const changes of [
      { grantName: 'admins' },
      { secretId: null, secretHash: null },
      { secretHash: null, grantName: 'admins' },
    ]) {
      await expect(open(session(newClient(), changes)), JSON.stringify(changes)).rejects.toThrow('sessions_holder');
    }
  });

  it('note their use at most once a minute', async () => {
    const one = await opened(newClient());
    await makeOld(one.hash, 'used_at', 50);
    await store.find([one.hash]);
    expect(await usedSecondsAgo(one.hash)).toBeGreaterThan(49);
    await makeOld(one.hash, 'used_at', 70);
    await store.find([one.hash]);
    expect(await usedSecondsAgo(one.hash)).toBeLessThan(30);
  });

  it('end once, by their token or by their id', async () => {
    const [one, other] = [await opened(newClient()), await opened(newClient())];
    const ended = ({ id, client, hash }: NewSession) => ({ id, client, hash });
    expect(await store.end(one.hash)).toEqual(ended(one));
    expect(await store.end(one.hash)).toBeNull();
    expect(await store.endById(other.id)).toEqual(ended(other));
    expect(await store.endById(other.id)).toBeNull();
    expect(await store.find([one.hash, other.hash])).toEqual([]);
  });

  it('of one client end together, and no others', async () => {
    const [client, another] = [newClient(), newClient()];
    const [one, two, kept] = [await opened(client), await opened(client), await opened(another)];
    const ended = await parts.database.transaction((run) => createSessionStore(run).endAllOf(client));
    expect(ended.map(({ id }) => id).toSorted()).toEqual([one.id, two.id].toSorted());
    expect(await idsOf(another)).toEqual([kept.id]);
  });
});

describe('the sessions of one client', () => {
  it('are at most as many as it may have: the oldest one ends when another one begins', async () => {
    const [client, another] = [newClient(), newClient()];
    const kept = await opened(another);
    const ids: string[] = [];
    for (let i = 0; i < 4; i++) {
      const one = session(client);
      const { ended } = await open(one, 3);
      ids.push(one.id);
      expect(ended.map(({ id }) => id)).toEqual(i < 3 ? [] : [ids[0]]);
    }
    expect(await idsOf(client)).toEqual(ids.slice(1));
    expect(await idsOf(another)).toEqual([kept.id]);
    // Fewer may be allowed than there are.
    expect((await open(session(client), 2)).ended.map(({ id }) => id).toSorted()).toEqual(ids.slice(1, 3).toSorted());
  });

  it('are not more if the 51st begins before the 50th has been committed', async () => {
    const client = newClient();
    for (let i = 0; i < 49; i++) await open(session(client));
    const oldest = (await idsOf(client))[0];
    const result = await afterWaitingFor(
      parts.database,
      (run) => createSessionStore(run).open(session(client), 50),
      () => open(session(client)),
    );
    expect(result.ended.map(({ id }) => id)).toEqual([oldest]);
    expect(await idsOf(client)).toHaveLength(50);
  });

  it('are not more, however many begin at the same time', async () => {
    const client = newClient();
    await Promise.all(Array.from({ length: 12 }, () => open(session(client), 5)));
    expect(await idsOf(client)).toHaveLength(5);
  });

  it('all end, also one that begins while they are being ended', async () => {
    const client = newClient();
    await opened(client);
    const late = session(client);
    const ended = await afterWaitingFor(
      parts.database,
      (run) => createSessionStore(run).open(late, 50),
      () => parts.database.transaction((run) => createSessionStore(run).endAllOf(client)),
    );
    expect(ended).toHaveLength(2);
    expect(await idsOf(client)).toEqual([]);
  });

  it('do not make the sessions of other clients wait', async () => {
    const [client, another] = [newClient(), newClient()];
    await parts.database.transaction(async (run) => {
      await createSessionStore(run).open(session(client), 50);
      await open(session(another));
    });
    expect(await idsOf(another)).toHaveLength(1);
  });
});

describe('a look-up', () => {
  it('does not wait for a session that is being ended, and does not find it afterwards', async () => {
    const one = await opened(newClient());
    await makeOld(one.hash, 'used_at', 70);
    await parts.database.transaction(async (run) => {
      await createSessionStore(run).end(one.hash);
      expect(await store.find([one.hash])).toHaveLength(1);
    });
    expect(await store.find([one.hash])).toEqual([]);
  });

  it('does not wait for another one that notes the same use', async () => {
    const one = await opened(newClient());
    await makeOld(one.hash, 'used_at', 70);
    await parts.database.transaction(async (run) => {
      await createSessionStore(run).find([one.hash]);
      expect(await store.find([one.hash])).toHaveLength(1);
    });
  });

  it('does not bring back a session whose end waits for it', async () => {
    const one = await opened(newClient());
    await makeOld(one.hash, 'used_at', 70);
    const ended = await afterWaitingFor(
      parts.database,
      (run) => createSessionStore(run).find([one.hash]),
      () => store.end(one.hash),
    );
    expect(ended?.id).toBe(one.id);
    expect(await store.find([one.hash])).toEqual([]);
  });
});
