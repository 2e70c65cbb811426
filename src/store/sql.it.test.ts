import { readdirSync, readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { withConnection } from '../../scripts/stores/postgres.ts';
import { createTestStores } from '../../test/harness/stores.ts';
import { loadSql } from './sql.ts';

const directory = new URL('./sql/', import.meta.url);
const names = readdirSync(directory).map((file) => file.replace(/\.sql$/, ''));
let databaseUrl: string;

beforeAll(async () => {
  ({ databaseUrl } = await createTestStores());
});

describe.each(names)('%s.sql', (name) => {
  const source = readFileSync(new URL(`${name}.sql`, directory), 'utf8');

  it('states its contract', () => {
    expect(source.split('\n')[0]).toBe(`-- name: ${name}`);
    expect(source).toMatch(/^-- args: /m);
    expect(source).toMatch(/^-- returns: /m);
  });

  it('names its columns', () => {
    expect(loadSql(name).text).not.toMatch(/SELECT\s+\*|\w\.\*/i);
  });

  it('is one statement that the migrated schema understands', async () => {
    const prepared = withConnection(databaseUrl, (client) =>
      client.query(`PREPARE statement AS ${loadSql(name).text}`),
    );
    await expect(prepared).resolves.toBeDefined();
  });
});
