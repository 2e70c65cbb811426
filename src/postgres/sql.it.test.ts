import { readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { withConnection } from '../../scripts/stores/postgres.ts';
import { sqlFiles, statementNamed } from '../../test/harness/assets.ts';
import { createTestStores } from '../../test/harness/stores.ts';
import { loadSqlWithout } from './sql.ts';

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

it('a statement without one of its parts has a name of its own, and is understood too', async () => {
  const directory = dirname(sqlFiles().get('submit') as string);
  const { name, text } = loadSqlWithout(directory, 'submit', 'pairs');
  expect(name).toBe('submit-without-pairs');
  expect(statementNamed('submit').text).toContain('INTO metadata_pairs');
  expect(text).not.toContain('metadata_pairs');
  await withConnection(databaseUrl, (client) => client.query(`PREPARE statement AS ${text}`));
  expect(() => loadSqlWithout(directory, 'submit', 'no such part')).toThrow('submit.sql has no part no such part');
});
