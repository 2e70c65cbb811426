import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findPostgres } from '../scripts/stores/binaries.ts';
import { runPostgres, withConnection } from '../scripts/stores/postgres.ts';
import { asAccount, giveTo, unprivilegedAccount } from '../scripts/stores/unprivileged.ts';

const SET_PASSWORD = readFileSync(new URL('../charts/scheduler/files/set-password.sh', import.meta.url), 'utf8');

let directory: string;
let scratch: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'set-password-'));
  scratch = mkdtempSync(join(tmpdir(), 'set-password-tmp-'));
  giveTo(scratch, unprivilegedAccount());
});

afterAll(() => {
  for (const each of [directory, scratch]) rmSync(each, { recursive: true, force: true });
});

/** Runs the script as the pod of the evaluation PostgreSQL does before its server; in the pod, /tmp is a volume. */
function setPassword(password: string, user = 'app', database = 'tasks', data = join(directory, 'data')) {
  const [program, ...args] = asAccount(
    ['sh', '-c', SET_PASSWORD.replaceAll('/tmp/', `${scratch}/`)],
    unprivilegedAccount(),
  ) as [string, ...string[]];
  const { status, stdout, stderr } = spawnSync(program, args, {
    encoding: 'utf8',
    cwd: '/',
    env: {
      PATH: [findPostgres(), process.env['PATH']].join(delimiter),
      PGDATA: data,
      POSTGRES_USER: user,
      POSTGRES_DB: database,
      POSTGRES_PASSWORD: password,
    },
  });
  return { status, output: stdout + stderr };
}

/** Starts the server on the volume, connects with the password, and ends the server. */
async function mayConnect(password: string, prepare = false): Promise<boolean> {
  const server = await runPostgres({ directory });
  try {
    if (prepare) {
      await withConnection(server.url, async (client) => {
        await client.query("CREATE ROLE app LOGIN PASSWORD 'first'");
        await client.query('CREATE DATABASE tasks OWNER app');
      });
    }
    const url = new URL(server.url);
    url.username = 'app';
    url.password = encodeURIComponent(password);
    url.pathname = '/tasks';
    return await withConnection(url.href, async (client) => (await client.query('SELECT 1')).rowCount === 1).catch(
      () => false,
    );
  } finally {
    await server.stop();
  }
}

describe('set-password.sh, before the evaluation PostgreSQL starts', () => {
  it('leaves an empty volume to the image', () => {
    expect(setPassword('any', 'app', 'tasks', join(directory, 'nothing'))).toEqual({ status: 0, output: '' });
  });

  it('sets the password of the Secret on an existing volume, so that the old one no longer works', async () => {
    expect(await mayConnect('first', true)).toBe(true);
    const odd = `it's "quoted" \\ $HOME`;
    const { status, output } = setPassword(odd);
    expect(status, output).toBe(0);
    expect(output).not.toContain('quoted');
    expect(await mayConnect(odd)).toBe(true);
    expect(await mayConnect('first')).toBe(false);
  });

  it.each([
    ['user', 'other', 'tasks'],
    ['database', 'app', 'other'],
  ])('reports that the volume was made with another %s', (kind, user, database) => {
    const { status, output } = setPassword('any', user, database);
    expect(status).toBe(1);
    expect(output).toContain(`The volume of PostgreSQL was made with another ${kind} than`);
    expect(output).not.toContain('any');
  });
});
