import { beforeEach, describe, expect, it } from 'vitest';
import { withConnection } from '../../scripts/stores/postgres.ts';
import { createTestStores } from '../../test/harness/stores.ts';
import { createLogger, type Logger } from '../telemetry/logger.ts';
import { migrate } from './migrate.ts';
import { MIGRATIONS } from './migrations/index.ts';

const log = createLogger('silent', {});
const all = MIGRATIONS.map(({ name }) => name);

let databaseUrl: string;

const run = (text: string) =>
  withConnection(databaseUrl, async (client) => (await client.query(text)).rows as unknown[]);

beforeEach(async () => {
  ({ databaseUrl } = await createTestStores());
});

describe('migrate', () => {
  it('runs each migration once, however many try at the same time', async () => {
    await run('DROP SCHEMA public CASCADE; CREATE SCHEMA public');
    const settings = { DATABASE_URL: databaseUrl };
    const done = await Promise.all([migrate(settings, log), migrate(settings, log), migrate(settings, log)]);
    expect(done.toSorted((a, b) => a.length - b.length)).toEqual([[], [], all]);
    expect(await migrate(settings, log)).toEqual([]);
  });

  it('leaves a newer schema as it is, as after a rollback to the former image', async () => {
    await run(`ALTER TABLE queues ADD COLUMN next text; INSERT INTO migrations (name) VALUES ('9999-next')`);
    expect(await migrate({ DATABASE_URL: databaseUrl }, log)).toEqual([]);
    expect(await run('SELECT name FROM migrations ORDER BY name')).toEqual(
      [...all, '9999-next'].map((name) => ({ name })),
    );
    expect(await run('SELECT next FROM queues LIMIT 0')).toEqual([]);
  });

  it('does not stand in the queue for a lock, and tries again', { timeout: 30_000 }, async () => {
    const waits = Promise.withResolvers<string>();
    const telling = { warn: (_: object, message: string) => waits.resolve(message) } as unknown as Logger;
    await withConnection(databaseUrl, async (client) => {
      await client.query('BEGIN; LOCK TABLE migrations IN ACCESS EXCLUSIVE MODE');
      const migrating = migrate({ DATABASE_URL: databaseUrl }, telling);
      expect(await Promise.race([waits.promise, migrating])).toBe('migration waits for a lock, trying again');
      await client.query('COMMIT');
      expect(await migrating).toEqual([]);
    });
  });
});
