import { beforeAll, describe, expect, it } from 'vitest';
import { startProcess } from '../../../test/harness/processes.ts';
import { createTestStores, type TestStores } from '../../../test/harness/stores.ts';
import { startApi, type RunningApi } from '../../../test/running-api.ts';
import { clientsCommand } from './command.ts';

let stores: TestStores;
let api: RunningApi;
beforeAll(async () => {
  stores = await createTestStores();
  api = await startApi({ ...stores.env, AUTH: 'keys' });
}, 60_000);

interface Result {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

async function run(line: string, env: Record<string, string> = stores.env): Promise<Result> {
  let [out, err] = ['', ''];
  const output = { out: (text: string) => void (out += text), err: (text: string) => void (err += text) };
  const code = await clientsCommand(line.split(' '), env, output);
  return { code, out, err };
}

const status = async (secret: string, path = '/tasks') =>
  (await api.request(path, { headers: { Authorization: `Bearer ${secret}` } })).status;

describe('scheduler clients', () => {
  it('makes the first client, whose secret is alone on standard output', async () => {
    // The API has read the clients when it no longer waits for them.
    await expect
      .poll(async () => (await api.request('/tasks')).body.detail, { timeout: 5_000 })
      .toContain('scheduler clients create');
    const { code, out, err } = await run('create first --role admin');
    expect(code).toBe(0);
    expect(out).toMatch(/^sch_[0-9A-Za-z]{8}_[0-9A-Za-z]{38}\n$/);
    expect(err).not.toContain(out.trim());
    expect(await status(out.trim(), '/clients')).toBe(200);
    const { body } = await api.request('/tasks');
    expect(body.detail).not.toContain('scheduler clients create');
  });

  it('takes everything that can be said of a client, and shows it', async () => {
    const line =
      'create whole --scopes submit,read --queues a.*,b --actions http.request --rate 600 --burst 10 --unfinished-max 1000 --delay-max 1h --timeout-max 5m --expires-in 30d --note words --json';
    const made = JSON.parse((await run(line)).out);
    expect(made).toMatchObject({
      name: 'whole',
      role: 'submitter',
      queues: ['a.*', 'b'],
      actions: ['http.request'],
      limits: { rate_per_minute: 600, burst: 10, unfinished_max: 1_000, delay_max: 3_600, timeout_max: 300 },
      note: 'words',
    });
    expect(Math.abs(Date.parse(made.expires_at) - Date.now() - 30 * 86_400_000)).toBeLessThan(60_000);
    const { secret, ...shown } = made;
    expect(JSON.parse((await run('show whole --json')).out)).toEqual(shown);
    const text = (await run('show whole')).out;
    expect(text).toContain(shown.secrets[0].id);
    expect(text).not.toContain(secret.slice(13));
  });

  it('changes only what is given', async () => {
    await run('create changing --role viewer --rate 10 --queues a');
    expect((await run('change changing --rate none --note new')).code).toBe(0);
    expect(JSON.parse((await run('show changing --json')).out)).toMatchObject({
      role: 'viewer',
      queues: ['a'],
      limits: { rate_per_minute: null },
      note: 'new',
    });
  });

  it('rotates, and revokes a secret or the client', async () => {
    const first = (await run('create rotating --role viewer')).out.trim();
    const second = (await run('rotate rotating')).out.trim();
    for (const secret of [first, second]) expect(await status(secret)).toBe(200);
    const full = await run('rotate rotating');
    expect(full).toMatchObject({ code: 1, out: '', err: expect.stringContaining('--overlap 0s') });
    expect((await run(`revoke rotating --secret ${first.slice(4, 12)}`)).code).toBe(0);
    await expect.poll(() => status(first), { timeout: 5_000 }).toBe(401);
    expect(await status(second)).toBe(200);
    expect((await run('revoke rotating')).code).toBe(0);
    await expect.poll(() => status(second), { timeout: 5_000 }).toBe(401);
    expect(await run('create rotating --role viewer')).toMatchObject({ code: 1, out: '' });
  });

  it('lists clients, revoked ones if they are asked for', async () => {
    await run('create listed --role worker');
    await run('create gone --role worker');
    await run('revoke gone');
    expect((await run('list')).out).toMatch(/^NAME .*\n(.*\n)*listed +worker +\* +1 +never +never\n/);
    const names = async (line: string) =>
      JSON.parse((await run(line)).out).items.map(({ name }: { name: string }) => name);
    expect(await names('list --json')).not.toContain('gone');
    expect(await names('list --revoked --json')).toContain('gone');
  });

  it.each([
    ['create bad', '--role'],
    ['create Bad --role viewer', 'name: expected'],
    ['create bad --role root', '--role: expected one of'],
    ['create bad --scopes read,write', '--scopes: expected'],
    ['create bad --role viewer --scopes read', '--role: expected either'],
    ['create bad --role viewer --queues a.*.b', '--queues: expected'],
    ['create bad --role viewer --rate 0 --burst x', '--rate: expected'],
    ['create bad --role viewer --rate 0 --burst x', '--burst: expected'],
    ['create bad --role viewer --delay-max 5', '--delay-max: expected'],
    ['create bad --role viewer --expires-in soon', '--expires-in: expected'],
    ['rotate bad --overlap 5', '--overlap: expected'],
    ['create bad --nothing', 'unknown option'],
    ['create', 'missing required argument'],
    ['bogus', 'unknown command'],
  ])('%s ends with 2 and says what is wrong', async (line, message) => {
    const { code, out, err } = await run(line);
    expect({ code, out }).toEqual({ code: 2, out: '' });
    expect(err).toContain(message);
  });

  it.each(['show none', 'change none --note x', 'rotate none', 'revoke none', 'revoke first --secret abcdefgh'])(
    '%s ends with 1',
    async (line) => {
      const { code, out, err } = await run(line);
      expect({ code, out }).toEqual({ code: 1, out: '' });
      expect(err).not.toBe('');
    },
  );

  it('ends with 2 without settings, and with 1 without PostgreSQL', async () => {
    expect(await run('list', {})).toMatchObject({ code: 2, err: expect.stringContaining('DATABASE_URL: missing') });
    const away = { ...stores.env, DATABASE_URL: 'postgres://nobody@127.0.0.1:1/none' };
    expect(await run('list', away)).toMatchObject({ code: 1, out: '', err: expect.stringContaining('postgresql') });
  });

  it('is a command of the program', async () => {
    const command = startProcess(['node', 'src/main.ts', 'clients', 'show', 'first', '--json'], stores.env);
    expect(await command.waitForExit()).toEqual({ code: 0, signal: null });
    expect(JSON.parse(command.output)).toMatchObject({ name: 'first', role: 'admin' });
    const help = startProcess(['node', 'src/main.ts', 'clients', '--help'], {});
    expect(await help.waitForExit()).toEqual({ code: 0, signal: null });
    expect(help.output).toContain('rotate');
  });
});
