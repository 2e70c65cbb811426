import { randomBytes } from 'node:crypto';
import { expect, it } from 'vitest';
import { withConnection } from '../../../scripts/stores/postgres.ts';
import { openParts } from '../../../test/harness/parts.ts';
import { createTestStores } from '../../../test/harness/stores.ts';
import { anActor } from '../../../test/harness/task-stores.ts';
import { makeSecret } from '../../core/access/secret.ts';
import { createClientChanges } from './client-changes.ts';
import { createClientStore } from './client-store.ts';
import { completeTerms } from './terms.ts';

const stores = await createTestStores();
const { database } = await openParts(stores.env);
const changes = createClientChanges(database);
const terms = { ...completeTerms({}, ['read']), expiresAt: null };

interface Row {
  readonly action: string;
  readonly client: string;
  readonly objects: readonly string[];
}

function rowsOf(auditId: string): Promise<Row[]> {
  return withConnection(stores.databaseUrl, async (client) => {
    const { rows } = await client.query<Row>('SELECT action, client, objects FROM audit WHERE id = $1', [auditId]);
    return rows;
  });
}

it('writes who changed a client, once for each change, and never a secret', async () => {
  const secret = makeSecret(randomBytes);
  const next = makeSecret(randomBytes);
  const done: [action: string, work: (by: ReturnType<typeof anActor>) => Promise<unknown>][] = [
    ['client.create', (by) => changes.create(by, 'shop', terms, secret)],
    ['client.change', (by) => changes.change(by, 'shop', { queues: ['orders.*'] })],
    ['client.rotate', (by) => changes.rotate(by, 'shop', next, 0)],
    ['client.revoke', (by) => changes.revokeSecret(by, 'shop', next.id)],
    ['client.revoke', (by) => changes.revoke(by, 'shop')],
  ];
  for (const [action, work] of done) {
    const by = anActor();
    await work(by);
    const rows = await rowsOf(by.auditId);
    expect(rows).toMatchObject([{ action, client: by.client }]);
    expect(rows[0]?.objects).toContain('client:shop');
    expect(JSON.stringify(rows)).not.toContain(secret.text.slice(-38));
    expect(JSON.stringify(rows)).not.toContain(next.text.slice(-38));
  }
});

it('writes nothing about what changes nothing', async () => {
  await changes.create(anActor(), 'taken', terms, makeSecret(randomBytes));
  for (const work of [
    (by: ReturnType<typeof anActor>) => changes.create(by, 'taken', terms, makeSecret(randomBytes)),
    (by: ReturnType<typeof anActor>) => changes.change(by, 'nobody', {}),
    (by: ReturnType<typeof anActor>) => changes.rotate(by, 'nobody', makeSecret(randomBytes), 0),
    (by: ReturnType<typeof anActor>) => changes.revokeSecret(by, 'taken', 'AAAAAAAA'),
    (by: ReturnType<typeof anActor>) => changes.revoke(by, 'nobody'),
  ]) {
    const by = anActor();
    await work(by);
    expect(await rowsOf(by.auditId)).toEqual([]);
  }
});

it('changes nothing if the row cannot be written', async () => {
  const by = { ...anActor(), traceId: '\0' };
  await expect(changes.create(by, 'unwritten', terms, makeSecret(randomBytes))).rejects.toThrow(
    /invalid byte sequence|refused/i,
  );
  expect(await createClientStore(database.run).show('unwritten')).toBeNull();
});
