import { randomBytes } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
import { afterWaitingFor } from '../../../test/harness/lock-waits.ts';
import { openParts, type TestParts } from '../../../test/harness/parts.ts';
import { createTestStores } from '../../../test/harness/stores.ts';
import { makeSecret, type NewSecret } from '../../core/access/secret.ts';
import { createClientStore, type ClientStore } from './client-store.ts';
import { createDirectoryStore, type DirectoryStore } from './directory/directory-store.ts';
import { completeTerms } from './terms.ts';

let parts: TestParts;
let store: ClientStore;
let directory: DirectoryStore;
beforeAll(async () => {
  parts = await openParts((await createTestStores()).env);
  store = createClientStore(parts.database.run);
  directory = createDirectoryStore(parts.database);
});

let serial = 0;
async function created(changes: { expiresAt?: string } = {}): Promise<{ name: string; secret: NewSecret }> {
  const name = `client-${++serial}`;
  const secret = makeSecret(randomBytes);
  const terms = { ...completeTerms({}, ['submit']), expiresAt: null, ...changes };
  expect(await store.create(name, terms, secret)).toBe(true);
  return { name, secret };
}

const rotate = (name: string, overlapMs: number, secret = makeSecret(randomBytes)) =>
  parts.database.transaction((run) => createClientStore(run).rotate(name, secret, overlapMs));

const validIds = async (name: string): Promise<string[]> => {
  const { secrets } = await directory.read();
  return secrets
    .filter(({ client, secretEndsMs }) => client.name === name && (secretEndsMs ?? 1) > 0)
    .map(({ id }) => id)
    .toSorted();
};

/** Returns whether the version changes while `change` runs. */
async function changesVersion(change: () => Promise<unknown>): Promise<boolean> {
  const before = await directory.version();
  await change();
  return (await directory.version()) !== before;
}

describe('clients in PostgreSQL', () => {
  it('are stored with everything that is said of them, and never with a secret', async () => {
    const secret = makeSecret(randomBytes);
    const limits = { ratePerMinute: 60, burst: 5, unfinishedMax: 100, delayMaxMs: 1_000, timeoutMaxMs: 86_400_000 };
    const terms = {
      scopes: ['submit', 'read'],
      queues: ['a.*', 'b'],
      actions: ['http.request'],
      limits,
      note: 'a "note"',
    } as const;
    await store.create('whole', { ...terms, expiresAt: '2099-01-02T03:04:05.678Z' }, secret);
    expect(await store.show('whole')).toEqual({
      name: 'whole',
      ...terms,
      createdAt: expect.any(String),
      expiresAt: '2099-01-02T03:04:05.678Z',
      revokedAt: null,
      secrets: [{ id: secret.id, createdAt: expect.any(String), expiresAt: null, lastUsedAt: null }],
    });
    const stored = await parts.database.run<{ text: string }>(
      { name: '', text: `SELECT c::text || s::text AS text FROM clients c JOIN client_secrets s ON s.client = c.name` },
      [],
    );
    for (const { text } of stored) expect(text).not.toContain(secret.text.slice(13));
    const { secrets } = await directory.read();
    const read = secrets.find(({ id }) => id === secret.id);
    expect(read).toMatchObject({ hash: secret.hash, client: { name: 'whole', limits }, secretEndsMs: null });
    expect(read?.client.queues.texts).toEqual(['a.*', 'b']);
  });

  it('keep their names for good, also when they are revoked', async () => {
    const { name, secret } = await created();
    const again = () =>
      store.create(name, { ...completeTerms({}, ['admin']), expiresAt: null }, makeSecret(randomBytes));
    expect(await changesVersion(again)).toBe(false);
    expect(await changesVersion(() => store.revoke(name))).toBe(true);
    expect(await again()).toBe(false);
    expect((await store.show(name))?.scopes).toEqual(['submit']);
    expect(await validIds(name)).not.toContain(secret.id);
  });

  it('change only in what is given', async () => {
    const { name } = await created();
    const change = () => store.change(name, { queues: ['only'], limits: { burst: 7 } });
    expect(await changesVersion(change)).toBe(true);
    expect(await store.show(name)).toMatchObject({
      scopes: ['submit'],
      queues: ['only'],
      actions: ['*'],
      limits: { burst: 7, ratePerMinute: null },
      expiresAt: null,
    });
    await store.change(name, {
      limits: { burst: null },
      scopes: ['read'],
      note: 'now',
      expiresAt: '2099-01-01T00:00:00Z',
    });
    expect(await store.show(name)).toMatchObject({
      scopes: ['read'],
      queues: ['only'],
      limits: { burst: null },
      note: 'now',
      expiresAt: '2099-01-01T00:00:00.000Z',
    });
    expect(await changesVersion(() => store.change('unknown', { note: 'x' }))).toBe(false);
    await store.revoke(name);
    expect(await store.change(name, { note: 'too late' })).toBe(false);
  });

  it('are listed by name, page by page, revoked ones only if they are asked for', async () => {
    for (const name of ['z-1', 'z-2', 'z-3']) {
      await store.create(name, { ...completeTerms({}, ['read']), expiresAt: null }, makeSecret(randomBytes));
    }
    await store.revoke('z-2');
    const names = async (after: string, most: number, revoked: boolean) =>
      (await store.list(after, most, revoked)).map(({ name }) => name);
    expect(await names('z', 10, false)).toEqual(['z-1', 'z-3']);
    expect(await names('z', 2, true)).toEqual(['z-1', 'z-2']);
    expect(await names('z-2', 2, true)).toEqual(['z-3']);
  });
});

describe('secrets', () => {
  it('overlap when they are rotated, and end after the overlap', async () => {
    const { name, secret } = await created();
    const next = makeSecret(randomBytes);
    expect(await changesVersion(() => rotate(name, 60_000, next))).toBe(true);
    expect(await validIds(name)).toEqual([secret.id, next.id].toSorted());
    const old = (await directory.read()).secrets.find(({ id }) => id === secret.id);
    expect(old?.secretEndsMs).toBeGreaterThan(50_000);
    expect(old?.secretEndsMs).toBeLessThanOrEqual(60_000);
  });

  it('are never more than two, unless both end at once', async () => {
    const { name, secret } = await created();
    await rotate(name, 60_000);
    expect(await changesVersion(async () => expect(await rotate(name, 60_000)).toBe('full'))).toBe(false);
    expect(await validIds(name)).toContain(secret.id);
    const last = makeSecret(randomBytes);
    expect(await rotate(name, 0, last)).toBeNull();
    expect(await validIds(name)).toEqual([last.id]);
  });

  it('are never more than two, even if a rotation begins before another one has been committed', async () => {
    const { name } = await created();
    const second = await afterWaitingFor(
      parts.database,
      async (run) => expect(await createClientStore(run).rotate(name, makeSecret(randomBytes), 60_000)).toBeNull(),
      () => rotate(name, 60_000),
    );
    expect(second).toBe('full');
    expect(await validIds(name)).toHaveLength(2);
  });

  it('are never more than two, however many rotations run at the same time', async () => {
    const { name } = await created();
    const results = await Promise.all(Array.from({ length: 5 }, () => rotate(name, 60_000)));
    expect(results.filter((result) => result === null)).toHaveLength(1);
    expect(results.filter((result) => result === 'full')).toHaveLength(4);
    expect(await validIds(name)).toHaveLength(2);
  });

  it('cannot be added to an unknown or revoked client, also while it is being revoked', async () => {
    expect(await rotate('unknown', 0)).toBe('unknown');
    for (let round = 0; round < 10; round++) {
      const { name } = await created();
      await Promise.all([rotate(name, 60_000), store.revoke(name)]);
      expect(await validIds(name)).toEqual([]);
      expect(await rotate(name, 0)).toBe('unknown');
    }
  });

  it('cannot be added to a client whose revocation has not been committed yet', async () => {
    const { name } = await created();
    const added = await afterWaitingFor(
      parts.database,
      (run) => createClientStore(run).revoke(name),
      () => rotate(name, 60_000),
    );
    expect(added).toBe('unknown');
    expect((await store.show(name))?.secrets).toEqual([]);
  });

  it('are forgotten a week after their end', async () => {
    const { name, secret } = await created();
    await rotate(name, 0);
    await parts.database.run(
      { name: '', text: `UPDATE client_secrets SET expires_at = now() - interval '8 days' WHERE id = $1` },
      [secret.id],
    );
    await rotate(name, 60_000);
    expect((await store.show(name))?.secrets.map(({ id }) => id)).not.toContain(secret.id);
  });

  it('are revoked one by one, only by their own client', async () => {
    const { name, secret } = await created();
    const other = await created();
    expect(await store.revokeSecret(other.name, secret.id)).toBe(false);
    expect(await changesVersion(() => store.revokeSecret(name, secret.id))).toBe(true);
    expect(await store.revokeSecret(name, secret.id)).toBe(false);
    expect(await validIds(name)).toEqual([]);
    expect(await store.show(name)).toMatchObject({ revokedAt: null, secrets: [] });
  });

  it('end with their client', async () => {
    const { secret } = await created({ expiresAt: new Date(Date.now() - 1_000).toISOString() });
    const read = (await directory.read()).secrets.find(({ id }) => id === secret.id);
    expect(read?.clientEndsMs).toBeLessThan(0);
  });
});

describe('last uses', () => {
  const usedAt = async (name: string) => (await store.show(name))?.secrets[0]?.lastUsedAt ?? null;

  it('are noted with their ages, and not again by a process that saw an older use', async () => {
    const [one, two] = [await created(), await created()];
    await directory.noteUses([
      { id: one.secret.id, ageMs: 5_000 },
      { id: two.secret.id, ageMs: 60_000 },
      { id: 'unknown1', ageMs: 0 },
    ]);
    const [first, second] = [await usedAt(one.name), await usedAt(two.name)];
    expect(Date.parse(first as string) - Date.parse(second as string)).toBe(55_000);
    await directory.noteUses([
      { id: one.secret.id, ageMs: 50_000 },
      { id: two.secret.id, ageMs: 1_000 },
    ]);
    expect(await usedAt(one.name)).toBe(first);
    expect(Date.parse((await usedAt(two.name)) as string)).toBeGreaterThan(Date.parse(second as string) + 50_000);
  });

  it('do not change the version', async () => {
    const { secret } = await created();
    expect(await changesVersion(() => directory.noteUses([{ id: secret.id, ageMs: 0 }]))).toBe(false);
  });

  it('are left to another process that is just noting them', async () => {
    const [one, two] = [await created(), await created()];
    await parts.database.transaction(async (run) => {
      await run({ name: '', text: 'SELECT FROM client_secrets WHERE id = $1 FOR UPDATE' }, [one.secret.id]);
      await directory.noteUses([one, two].map(({ secret: { id } }) => ({ id, ageMs: 0 })));
    });
    expect(await usedAt(one.name)).toBeNull();
    expect(await usedAt(two.name)).not.toBeNull();
  });

  it('of many processes at once do not wait for each other in a circle', async () => {
    const ids: string[] = [];
    for (let i = 0; i < 20; i++) ids.push((await created()).secret.id);
    const shuffled = () => ids.toSorted(() => Math.random() - 0.5).map((id) => ({ id, ageMs: 0 }));
    await Promise.all(Array.from({ length: 40 }, () => directory.noteUses(shuffled())));
    const noted = (await store.list('', 1_000, false))
      .flatMap(({ secrets }) => secrets)
      .filter(({ id }) => ids.includes(id));
    expect(noted.every(({ lastUsedAt }) => lastUsedAt !== null)).toBe(true);
  });
});
