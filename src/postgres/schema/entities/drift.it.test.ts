import { beforeAll, expect, it } from 'vitest';
import { withConnection } from '../../../../scripts/stores/postgres.ts';
import { createTestStores, type TestStores } from '../../../../test/harness/stores.ts';
import { readConfig } from '../../../config/read-config.ts';
import { createOrm } from '../../reads/reader.ts';

let stores: TestStores;
beforeAll(async () => {
  stores = await createTestStores();
});

/** Returns the SQL that would make the database match the entities. */
async function drift(): Promise<string> {
  const orm = createOrm(readConfig(stores.env));
  try {
    return await orm.schema.getUpdateSchemaSQL({ wrap: false });
  } finally {
    await orm.close(true);
  }
}

it('the entities match the schema of the migrations', async () => {
  expect(await drift()).toBe('');
});

it.each([
  ['a column', 'ALTER TABLE submissions ADD COLUMN surplus text'],
  ['a type', 'ALTER TABLE dlq ALTER COLUMN queue TYPE varchar(10)'],
  ['an index', 'DROP INDEX idempotency_keys_expiry'],
  ['a check', 'ALTER TABLE unfinished DROP CONSTRAINT unfinished_worker'],
])('a difference in %s is detected', async (_what, change) => {
  const before = await drift();
  await withConnection(stores.databaseUrl, (client) => client.query(change));
  expect((await drift()).length).toBeGreaterThan(before.length);
});
