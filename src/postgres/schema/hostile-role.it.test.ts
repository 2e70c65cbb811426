import { randomBytes } from 'node:crypto';
import type pg from 'pg';
import { beforeAll, describe, expect, inject, it } from 'vitest';
import { withConnection } from '../../../scripts/stores/postgres.ts';
import { atEndOfFile } from '../../../test/harness/end-of-file.ts';
import { createTestStores, emptyDatabase } from '../../../test/harness/stores.ts';
import { createDay } from '../../../test/harness/task-rows.ts';
import { createLogger } from '../../telemetry/logger.ts';
import { grantsFor } from './app-role.ts';
import { migrate } from './migrate.ts';

const log = createLogger('silent', {});

/** A value for each argument type of our functions. A new type needs an entry here. */
const ARGUMENTS: Readonly<Record<string, string>> = {
  integer: '1',
  date: "DATE '2020-01-01'",
  'uuid[]': "'{01000000-0000-7000-8000-000000000000}'",
  'timestamp with time zone': 'now()',
};

interface OwnFunction {
  readonly name: string;
  readonly types: string[];
  readonly definer: boolean;
  readonly config: string[] | null;
}

let databaseUrl: string;
let functions: OwnFunction[];

/** Creates a role that may log in. @returns its name and its password, separated by a colon */
async function newRole(): Promise<string> {
  const [name, password] = [`role_${randomBytes(5).toString('hex')}`, randomBytes(9).toString('hex')];
  const admin = (text: string) => withConnection(inject('adminUrl'), (client) => client.query(text));
  await admin(`CREATE ROLE ${name} LOGIN PASSWORD '${password}'`);
  atEndOfFile(async () => {
    await withConnection(databaseUrl, (client) => client.query(`DROP OWNED BY ${name}`));
    await admin(`DROP ROLE ${name}`);
  });
  return `${name}:${password}`;
}

function urlFor(credentials: string): string {
  const url = new URL(databaseUrl);
  [url.username = '', url.password = ''] = credentials.split(':');
  return url.href;
}

const callOf = ({ name, types }: OwnFunction): string =>
  `SELECT public.${name}(${types.map((type) => ARGUMENTS[type] ?? `no value of type ${type} is known`).join(', ')})`;

/**
 * Shadows everything that a function might name without its schema: with temporary views, and with functions and
 * operators in the temporary schema. Each of them notes which role ran it.
 */
async function shadow(client: pg.Client): Promise<void> {
  await client.query(`
    CREATE TEMP TABLE ran (who text);
    GRANT ALL ON ran TO PUBLIC;
    CREATE FUNCTION pg_temp.note() RETURNS uuid LANGUAGE plpgsql AS
      $$ BEGIN INSERT INTO pg_temp.ran VALUES (current_user); RETURN '00000000-0000-0000-0000-000000000000'; END $$;
    CREATE FUNCTION pg_temp.lowest_task_id(timestamptz) RETURNS uuid LANGUAGE sql AS 'SELECT pg_temp.note()';
    CREATE VIEW pg_temp.submissions_default AS SELECT pg_temp.note() AS id;
    CREATE VIEW pg_temp.metadata_pairs_default AS SELECT pg_temp.note() AS id;
    CREATE VIEW pg_temp.finished_default AS SELECT pg_temp.note() AS id;
    CREATE VIEW pg_temp.attempts_default AS SELECT pg_temp.note() AS task_id;
    CREATE VIEW pg_temp.submissions AS SELECT pg_temp.note() AS id;
    CREATE VIEW pg_temp.metadata_pairs AS SELECT pg_temp.note() AS id;
    CREATE VIEW pg_temp.unfinished AS SELECT pg_temp.note() AS id, 'PENDING' AS status;
    CREATE VIEW pg_temp.finished AS SELECT pg_temp.note() AS id, now() AS finished_at;
    CREATE VIEW pg_temp.attempts AS SELECT pg_temp.note() AS task_id;
    CREATE VIEW pg_temp.dlq AS SELECT pg_temp.note() AS task_id, now() AS requeued_at;
    CREATE VIEW pg_temp.submissions_20200101 AS SELECT pg_temp.note() AS id;
    CREATE FUNCTION pg_temp.least(integer, integer) RETURNS integer LANGUAGE sql AS 'SELECT pg_temp.note(); SELECT $1';
    CREATE FUNCTION pg_temp.to_char(date, text) RETURNS text LANGUAGE sql AS 'SELECT pg_temp.note()::text';
    CREATE FUNCTION pg_temp.plus(date, integer) RETURNS date LANGUAGE sql AS 'SELECT pg_temp.note(); SELECT $1';
    CREATE OPERATOR pg_temp.+ (LEFTARG = date, RIGHTARG = integer, FUNCTION = pg_temp.plus);
    SET search_path = pg_temp, public, pg_catalog`);
}

beforeAll(async () => {
  ({ databaseUrl } = await createTestStores());
  functions = await withConnection(databaseUrl, async (client) => {
    const { rows } = await client.query<OwnFunction>(`
      SELECT proname::text AS name, prosecdef AS definer, proconfig AS config,
             ARRAY(SELECT format_type(t, NULL) FROM unnest(proargtypes) WITH ORDINALITY AS a (t, n) ORDER BY n) AS types
      FROM pg_proc WHERE pronamespace = 'public'::regnamespace ORDER BY 1`);
    return rows;
  });
});

describe('a role without grants', () => {
  let url: string;
  beforeAll(async () => {
    url = urlFor(await newRole());
  });

  it('can call none of our functions', async () => {
    expect(functions.length).toBeGreaterThan(0);
    await withConnection(url, async (client) => {
      for (const each of functions) {
        await expect(client.query(callOf(each)), each.name).rejects.toMatchObject({ code: '42501' });
      }
    });
  });

  it('can neither read nor change our relations, nor create one in our schema', async () => {
    await withConnection(url, async (client) => {
      const { rows } = await client.query(`
        SELECT relname FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S')
          AND CASE relkind WHEN 'S' THEN has_sequence_privilege(oid, 'USAGE, SELECT, UPDATE')
                ELSE has_table_privilege(oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER') END`);
      expect(rows).toEqual([]);
      await expect(client.query('CREATE TABLE public.mine ()')).rejects.toMatchObject({ code: '42501' });
    });
  });

  it('cannot block migrations', async () => {
    await withConnection(url, async (client) => {
      const lock = client.query('BEGIN; LOCK TABLE public.migrations IN ACCESS SHARE MODE');
      await expect(lock).rejects.toMatchObject({ code: '42501' });
      await client.query('ROLLBACK');
      // Every role may take advisory locks.
      await client.query('BEGIN; SELECT pg_advisory_xact_lock(n) FROM generate_series(7281900, 7282000) n');
      expect(await migrate({ DATABASE_URL: databaseUrl }, log)).toEqual([]);
    });
  });
});

describe('a role that may call our functions', () => {
  it('cannot make them run its own code as their owner', async () => {
    const credentials = await newRole();
    const [name = ''] = credentials.split(':');
    await withConnection(databaseUrl, async (owner) => {
      for (const statement of createDay('20200101', ['submissions'])) await owner.query(statement);
      for (const grant of grantsFor(name, 'public')) await owner.query(grant);
    });
    await withConnection(urlFor(credentials), async (client) => {
      await shadow(client);
      for (const each of functions) {
        // The call may fail. Only the role that ran the shadowing code matters.
        await client.query(callOf(each)).catch(() => {});
      }
      const { rows } = await client.query<{ who: string }>('SELECT DISTINCT who FROM pg_temp.ran');
      expect(rows.filter(({ who }) => who !== name)).toEqual([]);
    });
  });

  it('runs them with a fixed search path, in which other roles cannot create objects', () => {
    const definers = functions.filter(({ definer }) => definer);
    const loose = definers.filter(({ config }) => config?.includes('search_path=pg_catalog, pg_temp') !== true);
    expect(loose).toEqual([]);
  });
});

it('a schema in which every role may create objects is refused, with advice', async () => {
  const url = await emptyDatabase();
  const execute = (text: string) => withConnection(url, (client) => client.query(text));
  await execute('GRANT CREATE ON SCHEMA public TO PUBLIC');
  await expect(migrate({ DATABASE_URL: url }, log)).rejects.toMatchObject({
    code: 'unsafe_schema',
    message: expect.stringMatching(/REVOKE CREATE ON SCHEMA "public" FROM PUBLIC.*DATABASE_SCHEMA/),
  });
  expect(await migrate({ DATABASE_URL: url, DATABASE_SCHEMA: 'apart' }, log)).not.toEqual([]);
  await execute('REVOKE CREATE ON SCHEMA public FROM PUBLIC');
  expect(await migrate({ DATABASE_URL: url }, log)).not.toEqual([]);
});
