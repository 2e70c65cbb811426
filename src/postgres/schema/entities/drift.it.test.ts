import { beforeAll, expect, it } from 'vitest';
import { withConnection } from '../../../../scripts/stores/postgres.ts';
import { createTestStores, type TestStores } from '../../../../test/harness/stores.ts';
import { readConfig } from '../../../config/read-config.ts';
import { createOrm } from '../../orm.ts';

let stores: TestStores;
beforeAll(async () => {
  stores = await createTestStores();
});

/** What would have to be changed in the database for the entities to be right. */
async function drift(): Promise<string> {
  const orm = createOrm(readConfig(stores.env));
  try {
    return await orm.schema.getUpdateSchemaSQL({ wrap: false });
  } finally {
    await orm.close(true);
  }
}

it('the entities describe the schema that the migrations make', async () => {
  expect(await drift()).toBe('');
});

it.each([
  ['a column', 'ALTER TABLE tasks ADD COLUMN surplus text'],
  ['a type', 'ALTER TABLE dlq ALTER COLUMN queue TYPE varchar(10)'],
  ['an index', 'DROP INDEX idempotency_keys_expiry'],
  ['a check', 'ALTER TABLE tasks DROP CONSTRAINT tasks_worker'],
])('%s that differs is noticed', async (_what, change) => {
  const before = await drift();
  await withConnection(stores.databaseUrl, (client) => client.query(change));
  expect((await drift()).length).toBeGreaterThan(before.length);
});
