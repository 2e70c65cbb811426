import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { hashOfSecret } from '../../../core/access/secret.ts';
import { readClientFiles } from './client-files.ts';

const SECRET = 'correct horse battery staple, 32+';
const OTHER = 'x'.repeat(32);

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'clients-'));
});
afterEach(() => rmSync(root, { recursive: true }));

function write(files: Record<string, string>, at = root): void {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(at, path)), { recursive: true });
    writeFileSync(join(at, path), text);
  }
}

describe('readClientFiles', () => {
  it('reads a client with everything that can be said of it', async () => {
    write({
      'shop/secret': `  ${SECRET}\n`,
      'shop/role': 'operator\n',
      'shop/queues': 'orders.*, mail\nbilling',
      'shop/actions': '*',
      'shop/rate': '600',
      'shop/burst': '100',
      'shop/unfinished-max': '10000',
      'shop/delay-max': '1h',
      'shop/timeout-max': 'none',
      'shop/note': 'the shop',
      '.hidden': 'is ignored',
      'shop/.hidden': 'is ignored',
    });
    const { clients, problems } = await readClientFiles(root);
    expect(problems).toEqual([]);
    expect(clients).toHaveLength(1);
    expect(clients[0]).toMatchObject({
      hashes: [hashOfSecret(SECRET)],
      client: { name: 'shop', queues: { texts: ['orders.*', 'mail', 'billing'] } },
      terms: {
        scopes: ['read', 'payload', 'operate', 'metrics'],
        limits: { ratePerMinute: 600, burst: 100, unfinishedMax: 10_000, delayMaxMs: 3_600_000, timeoutMaxMs: null },
        note: 'the shop',
      },
    });
  });

  it('takes a secret alone: a submitter that may use all queues', async () => {
    write({ 'shop/secret': SECRET });
    const { clients } = await readClientFiles(root);
    expect(clients[0]?.terms).toMatchObject({ scopes: ['submit', 'read'], queues: ['*'], actions: ['*'] });
  });

  it('takes a second secret, so that the first one can be replaced', async () => {
    write({ 'shop/secret': SECRET, 'shop/secret-next': OTHER });
    expect((await readClientFiles(root)).clients[0]?.hashes).toEqual([SECRET, OTHER].map(hashOfSecret));
  });

  it.each<[string, Record<string, string>, string]>([
    ['no secret', { 'shop/role': 'viewer' }, 'shop/secret'],
    ['a short secret', { 'shop/secret': 'x'.repeat(31) }, 'shop/secret'],
    ['a long secret', { 'shop/secret': 'x'.repeat(1_025) }, 'shop/secret'],
    ['a secret of two lines', { 'shop/secret': `${OTHER}\n${OTHER}` }, 'shop/secret'],
    ['a secret that no header can carry', { 'shop/secret': 'ü'.repeat(40) }, 'shop/secret'],
    [
      'three secrets',
      { 'shop/secret': SECRET, 'shop/secret-next': OTHER, 'shop/secret-previous': OTHER + 1 },
      'shop/secret-previous',
    ],
    ['an unknown role', { 'shop/secret': SECRET, 'shop/role': 'root' }, 'shop/role'],
    ['an unknown scope', { 'shop/secret': SECRET, 'shop/scopes': 'read,write' }, 'shop/scopes'],
    ['a role and scopes', { 'shop/secret': SECRET, 'shop/role': 'viewer', 'shop/scopes': 'read' }, 'shop/role'],
    ['a pattern in between', { 'shop/secret': SECRET, 'shop/queues': 'a.*.b' }, 'shop/queues'],
    ['a limit of 0', { 'shop/secret': SECRET, 'shop/rate': '0' }, 'shop/rate'],
    ['a number as a duration', { 'shop/secret': SECRET, 'shop/delay-max': '60' }, 'shop/delay-max'],
    ['a bad name', { 'Shop/secret': SECRET }, 'Shop'],
    ['a reserved name', { 'self/secret': SECRET }, 'self'],
    ['a file instead of a directory', { shop: SECRET }, 'shop'],
  ])('leaves out a client with %s, and no other client', async (_what, files, file) => {
    write({ ...files, 'good/secret': 'y'.repeat(32) });
    const { clients, problems } = await readClientFiles(root);
    expect(clients.map(({ client }) => client.name)).toEqual(['good']);
    expect(problems.map((problem) => problem.file)).toEqual([file]);
    expect(problems[0]?.rule.length).toBeGreaterThan(5);
    for (const text of Object.values(files)) if (text.length > 20) expect(JSON.stringify(problems)).not.toContain(text);
  });

  it.each(['queue', 'action', 'expires-in', 'Secret', 'secrets'])(
    'refuses a client with the unknown file %s, whose limit would not apply',
    async (file) => {
      write({ 'shop/secret': SECRET, 'shop/queues': 'orders', [`shop/${file}`]: 'x', 'other/secret': OTHER });
      const { clients, names, problems } = await readClientFiles(root);
      expect(clients.map(({ client }) => client.name)).toEqual(['other']);
      expect(problems).toMatchObject([
        { file: `shop/${file}`, rule: expect.stringContaining('is not one of secret,') },
      ]);
      expect([...names]).toEqual(['other', 'shop']);
    },
  );

  it('refuses the second client with the same secret', async () => {
    write({ 'a/secret': SECRET, 'b/secret': SECRET });
    const { clients, problems } = await readClientFiles(root);
    expect(clients.map(({ client }) => client.name)).toEqual(['a']);
    expect(problems).toEqual([{ file: 'b', rule: 'has the same secret as the client a' }]);
  });

  it('follows the links of the kubelet, of one volume and of a volume for each client', async () => {
    // A volume with all clients, whose links the kubelet replaces at once.
    write({ '..v1/shop/secret': SECRET });
    symlinkSync('..v1', join(root, '..data'));
    symlinkSync('..data/shop', join(root, 'shop'));
    // A volume of a client within it.
    write({ '..v1/mail/..w1/secret': OTHER, '..v1/mail/..w1/role': 'viewer' });
    symlinkSync('..w1', join(root, '..v1/mail/..data'));
    symlinkSync('..data/secret', join(root, '..v1/mail/secret'));
    symlinkSync('..data/role', join(root, '..v1/mail/role'));
    const names = async () => (await readClientFiles(root)).clients.map(({ client }) => client.name);
    expect(await names()).toEqual(['mail', 'shop']);

    write({ '..v2/shop/secret': 'z'.repeat(32) });
    symlinkSync('..v2', join(root, '..data_tmp'));
    renameSync(join(root, '..data_tmp'), join(root, '..data'));
    const { clients, problems } = await readClientFiles(root);
    expect(clients.map(({ hashes }) => hashes)).toEqual([[hashOfSecret('z'.repeat(32))]]);
    expect(problems).toEqual([]);
  });

  it('never mixes the files of before with the files of after', async () => {
    const both = [
      { secret: SECRET, role: 'viewer', scopes: ['read'] },
      { secret: OTHER, role: 'worker', scopes: ['work'] },
    ] as const;
    let version = 0;
    const replace = (): void => {
      const { secret, role } = both[++version % 2] as (typeof both)[number];
      write({ [`..v${version}/shop/secret`]: secret, [`..v${version}/shop/role`]: role });
      symlinkSync(`..v${version}`, join(root, '..data_tmp'));
      renameSync(join(root, '..data_tmp'), join(root, '..data'));
      rmSync(join(root, `..v${version - 1}`), { recursive: true, force: true });
    };
    replace();
    symlinkSync('..data/shop', join(root, 'shop'));
    for (let round = 0; round < 100; round++) {
      const reading = readClientFiles(root);
      for (let turns = round % 12; turns > 0; turns--) await new Promise(setImmediate);
      replace();
      const { clients, problems } = await reading;
      expect(problems).toEqual([]);
      const found = clients.map(({ hashes, terms }) => ({ hashes, scopes: terms.scopes }));
      expect(both.map(({ secret, scopes }) => [{ hashes: [hashOfSecret(secret)], scopes }])).toContainEqual(found);
    }
  });

  it('throws if the directory is missing, because no clients would look the same', async () => {
    await expect(readClientFiles(join(root, 'missing'))).rejects.toThrow('ENOENT');
    expect(await readClientFiles(root)).toEqual({ clients: [], names: new Set(), problems: [] });
  });
});
