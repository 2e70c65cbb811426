import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { withConnection } from '../../scripts/stores/postgres.ts';
import { sqlFiles, statementNamed } from '../../test/harness/assets.ts';
import { createTestStores } from '../../test/harness/stores.ts';

let databaseUrl: string;

beforeAll(async () => {
  ({ databaseUrl } = await createTestStores());
});

describe.each([...sqlFiles()])('%s.sql', (name, path) => {
  const source = readFileSync(path, 'utf8');

  it('states its contract', () => {
    expect(source.split('\n')[0]).toBe(`-- name: ${name}`);
    expect(source).toMatch(/^-- args: /m);
    expect(source).toMatch(/^-- returns: /m);
  });

  it('names its columns instead of selecting *', () => {
    expect(statementNamed(name).text).not.toMatch(/SELECT\s+\*|\w\.\*/i);
  });

  it('is one statement that the migrated schema understands', async () => {
    const prepared = withConnection(databaseUrl, (client) =>
      client.query(`PREPARE statement AS ${statementNamed(name).text}`),
    );
    await expect(prepared).resolves.toBeDefined();
  });
});
