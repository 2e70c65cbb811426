import { randomBytes } from 'node:crypto';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { ROLES } from '../../../core/access/scopes.ts';
import { hashOfSecret, makeSecret, type NewSecret } from '../../../core/access/secret.ts';
import { StoreUnavailableError } from '../../../core/errors.ts';
import { completeTerms, makeClient } from '../terms.ts';
import type { FileClient, FoundClients } from './client-files.ts';
import type { StoredSecret } from './directory-store.ts';
import { createDirectory } from './directory.ts';

const TERMS = completeTerms({}, ROLES.submitter);
const SECOND = 1_000;
const MINUTE = 60_000;

const NONE: FoundClients = { clients: [], names: new Set(), problems: [] };

const found = (...clients: FileClient[]): FoundClients => ({
  clients,
  names: new Set(clients.map(({ client }) => client.name)),
  problems: [],
});

/** A directory on a store in memory, which is told when to look and what time it is. */
function fixture() {
  let nowMs = 1_000_000;
  const state = { version: 1, secrets: [] as StoredSecret[], away: false, versions: 0, reads: 0, uses: [] as object[] };
  const files: { found: FoundClients; fails: boolean; hangs: boolean } = { found: NONE, fails: false, hangs: false };
  const warnings: Record<string, unknown>[] = [];
  const answer = async <Value>(value: () => Value): Promise<Value> => {
    if (state.away) throw new StoreUnavailableError('postgresql', new Error('away'));
    return value();
  };
  const directory = createDirectory({
    store: {
      version: () => answer(() => (state.versions++, state.version)),
      read: () => answer(() => (state.reads++, { version: state.version, secrets: [...state.secrets] })),
      noteUses: (uses) => answer(() => void state.uses.push(uses)),
    },
    readFiles: async () => {
      if (files.hangs) return new Promise(() => {});
      if (files.fails) throw new Error('EIO');
      return files.found;
    },
    log: pino({ level: 'warn' }, { write: (line: string) => void warnings.push(JSON.parse(line)) }),
    clock: { nowMs: () => nowMs, monotonicMs: () => nowMs },
  });
  return {
    directory,
    state,
    files,
    warnings,
    /** Lets time pass, with a look every two seconds. */
    async pass(ms: number) {
      for (let left = ms; left > 0; left -= 2 * SECOND) {
        nowMs += Math.min(2 * SECOND, left);
        await directory.runOnce();
      }
    },
    add(name: string, ends: { secretEndsMs?: number; clientEndsMs?: number } = {}): NewSecret {
      const secret = makeSecret(randomBytes);
      const { id, hash } = secret;
      state.secrets.push({
        client: makeClient(name, TERMS),
        id,
        hash,
        secretEndsMs: null,
        clientEndsMs: null,
        ...ends,
      });
      state.version++;
      return secret;
    },
    remove(name: string) {
      state.secrets = state.secrets.filter(({ client }) => client.name !== name);
      state.version++;
    },
  };
}

const filed = (name: string, secret: string): FileClient => ({
  client: makeClient(name, TERMS),
  terms: TERMS,
  hashes: [hashOfSecret(secret)],
});

const KNOWN = (name: string) => ({ kind: 'known', client: { name } });

describe('the directory', () => {
  it('finds a client without waiting, and without a statement', async () => {
    const { directory, add, state } = fixture();
    const { text } = add('shop');
    await directory.runOnce();
    const before = state.versions + state.reads;
    for (let i = 0; i < 100; i++) expect(directory.identify(text)).toMatchObject(KNOWN('shop'));
    expect(state.versions + state.reads).toBe(before);
  });

  it('does not know a secret with the id of another one', async () => {
    const { directory, add } = fixture();
    const { text, id } = add('shop');
    await directory.runOnce();
    const forged = makeSecretWithId(id);
    expect(forged).not.toBe(text);
    expect(await directory.identify(forged)).toEqual({ kind: 'unknown' });
    expect(directory.identify('something else')).toEqual({ kind: 'unknown' });
  });

  it('finds a client by the hash of its secret alone, without a statement, and follows what becomes of it', async () => {
    const { directory, add, remove, pass, state } = fixture();
    const { text, id } = add('shop');
    const { id: oldId, hash: oldHash } = add('old', { secretEndsMs: 10 * SECOND });
    await directory.runOnce();
    const hash = hashOfSecret(text);
    const before = state.versions + state.reads;
    expect(directory.identifyHash(id, hash)).toMatchObject({ ...KNOWN('shop'), secretId: id });
    expect(directory.identifyHash(oldId, oldHash.toString('hex'))).toMatchObject(KNOWN('old'));
    expect(state.versions + state.reads).toBe(before);
    expect(await directory.identifyHash(id, hashOfSecret('another'))).toEqual({ kind: 'unknown' });
    expect(await directory.identifyHash(oldId, hash)).toEqual({ kind: 'unknown' });
    expect(directory.identifyHash(null, hash)).toEqual({ kind: 'unknown' });
    await pass(10 * SECOND);
    expect(directory.identifyHash(oldId, oldHash.toString('hex'))).toEqual({ kind: 'expired', of: 'secret' });
    remove('shop');
    await pass(5 * SECOND);
    expect(await directory.identifyHash(id, hash)).toEqual({ kind: 'unknown' });
  });

  it('finds a client in files by the hash of its secret', async () => {
    const { directory, files } = fixture();
    files.found = found(filed('filed', 'a secret in a file that is long enough'));
    await directory.runOnce();
    const hash = hashOfSecret('a secret in a file that is long enough');
    expect(directory.identifyHash(null, hash)).toMatchObject({ ...KNOWN('filed'), secretId: null });
    files.found = NONE;
    await directory.runOnce();
    expect(directory.identifyHash(null, hash)).toEqual({ kind: 'unknown' });
  });

  it('lets requests wait for the first reading', async () => {
    const { directory, add, state } = fixture();
    const { text } = add('shop');
    state.away = true;
    await directory.runOnce();
    const waiting = directory.identify(text);
    state.away = false;
    await directory.runOnce();
    expect(await waiting).toMatchObject(KNOWN('shop'));
  });

  it('refuses a revoked client within five seconds', async () => {
    const { directory, pass, add, remove } = fixture();
    const { text } = add('shop');
    await directory.runOnce();
    expect(directory.identify(text)).toMatchObject(KNOWN('shop'));
    remove('shop');
    await pass(5 * SECOND);
    expect(await directory.identify(text)).toEqual({ kind: 'unknown' });
  });

  it('finds a new client, and looks for unknown ones only twice a second', async () => {
    const { directory, pass, add, state } = fixture();
    await directory.runOnce();
    await pass(SECOND);
    const { text } = add('shop');
    expect(await directory.identify(text)).toMatchObject(KNOWN('shop'));
    const before = state.versions;
    const startMs = performance.now();
    const unknown = Array.from({ length: 50 }, () => makeSecret(randomBytes).text);
    const other = add('other');
    const answers = await Promise.all([...unknown, other.text].map(async (secret) => directory.identify(secret)));
    expect(answers.filter(({ kind }) => kind === 'known')).toHaveLength(1);
    expect(state.versions - before).toBe(1);
    expect(performance.now() - startMs).toBeGreaterThan(450);
  });

  it('keeps the clients for five minutes while PostgreSQL is away, and not longer', async () => {
    const { directory, pass, add, state } = fixture();
    const { text } = add('shop');
    await directory.runOnce();
    await pass(SECOND);
    state.away = true;
    await pass(5 * MINUTE - 5 * SECOND);
    expect(directory.identify(text)).toMatchObject(KNOWN('shop'));
    expect(await directory.identify(makeSecret(randomBytes).text)).toEqual({ kind: 'unknown' });
    await pass(10 * SECOND);
    await expect(directory.identify(text)).rejects.toBeInstanceOf(StoreUnavailableError);
    state.away = false;
    await pass(5 * SECOND);
    expect(directory.identify(text)).toMatchObject(KNOWN('shop'));
  });

  it('ends a secret and a client at their time, without being told', async () => {
    const { directory, pass, add } = fixture();
    const secret = add('one', { secretEndsMs: MINUTE }).text;
    const client = add('two', { clientEndsMs: MINUTE }).text;
    await directory.runOnce();
    await pass(MINUTE - SECOND);
    expect(directory.identify(secret)).toMatchObject(KNOWN('one'));
    await pass(2 * SECOND);
    expect(directory.identify(secret)).toEqual({ kind: 'expired', of: 'secret' });
    expect(directory.identify(client)).toEqual({ kind: 'expired', of: 'client' });
  });

  it('writes the last uses once a minute, all in one statement', async () => {
    const { directory, pass, add, state } = fixture();
    const secrets = [add('one'), add('two'), add('idle')];
    await directory.runOnce();
    for (let second = 0; second < 150; second++) {
      for (const { text } of secrets.slice(0, 2)) void directory.identify(text);
      await pass(SECOND);
    }
    expect(state.uses).toHaveLength(2);
    for (const uses of state.uses) expect(uses).toHaveLength(2);
    state.away = true;
    await pass(MINUTE);
    state.away = false;
    await directory.stop();
    expect(state.uses).toHaveLength(3);
  });

  it('writes the later one of two uses if writing the earlier one fails meanwhile', async () => {
    const { directory, pass, add, state } = fixture();
    const { id, text } = add('shop');
    await directory.runOnce();
    void directory.identify(text);
    await pass(MINUTE - 2 * SECOND);
    state.away = true;
    const writing = pass(2 * SECOND);
    void directory.identify(text);
    await writing;
    state.away = false;
    await directory.stop();
    expect(state.uses).toEqual([[{ id, ageMs: 0 }]]);
  });

  it('counts the times from a fresh answer every five minutes, even if nothing changes', async () => {
    const { directory, pass, add, state } = fixture();
    const { text } = add('shop', { secretEndsMs: 10 * MINUTE });
    await directory.runOnce();
    await pass(4 * MINUTE);
    expect(state.reads).toBe(1);
    // The clock of PostgreSQL runs ahead.
    state.secrets = state.secrets.map((secret) => ({ ...secret, secretEndsMs: MINUTE }));
    await pass(2 * MINUTE);
    expect(state.reads).toBe(2);
    await pass(MINUTE);
    expect(directory.identify(text)).toEqual({ kind: 'expired', of: 'secret' });
  });

  it('asks PostgreSQL nothing after it has been stopped', async () => {
    const { directory, state } = fixture();
    await directory.runOnce();
    await directory.identify(makeSecret(randomBytes).text);
    const before = state.versions;
    const waiting = directory.identify(makeSecret(randomBytes).text);
    await directory.stop();
    expect(await waiting).toEqual({ kind: 'unknown' });
    expect(state.versions).toBe(before);
  });

  it('says whether there is any client', async () => {
    const { directory, pass, add } = fixture();
    expect(directory.isEmpty()).toBe(false);
    await directory.runOnce();
    expect(directory.isEmpty()).toBe(true);
    add('shop');
    await pass(3 * SECOND);
    expect(directory.isEmpty()).toBe(false);
  });
});

describe('the directory with files', () => {
  const SECRET = 'a text of more than 32 characters';

  it('knows the clients in files from the start, also without PostgreSQL', async () => {
    const { directory, files, state } = fixture();
    state.away = true;
    files.found = found(filed('first', SECRET));
    await directory.start();
    await directory.stop();
    expect(directory.identify(SECRET)).toMatchObject(KNOWN('first'));
  });

  it('does not start if the directory cannot be read', async () => {
    const { directory, files } = fixture();
    files.fails = true;
    await expect(directory.start()).rejects.toMatchObject({ code: 'unreadable_clients' });
  });

  it('follows the files, and keeps what it knows while they cannot be read', async () => {
    const { directory, pass, files, warnings } = fixture();
    files.found = found(filed('first', SECRET));
    await directory.start();
    files.fails = true;
    await pass(10 * SECOND);
    expect(directory.identify(SECRET)).toMatchObject(KNOWN('first'));
    expect(warnings.map(({ msg }) => msg)).toEqual(['clients could not be followed']);
    files.fails = false;
    files.found = NONE;
    await pass(5 * SECOND);
    expect(directory.identify(SECRET)).toEqual({ kind: 'unknown' });
  });

  it('warns once of a file that cannot be used', async () => {
    const { directory, pass, files, warnings } = fixture();
    files.found = { ...NONE, problems: [{ file: 'shop/role', rule: 'expected one of …' }] };
    await directory.runOnce();
    await pass(10 * SECOND);
    expect(warnings).toMatchObject([{ problem: 'shop/role: expected one of …' }]);
  });

  it('lets the files count if a name is in both places, and warns', async () => {
    const { directory, pass, files, add, warnings } = fixture();
    const { text } = add('shop');
    await directory.runOnce();
    expect(directory.identify(text)).toMatchObject(KNOWN('shop'));
    files.found = found(filed('shop', SECRET));
    await pass(10 * SECOND);
    expect(await directory.identify(text)).toEqual({ kind: 'unknown' });
    expect(directory.identify(SECRET)).toMatchObject(KNOWN('shop'));
    expect(warnings).toMatchObject([{ client: 'shop', msg: expect.stringContaining('the files count') }]);
  });

  it('lets nobody in under the name of a client in files that cannot be used', async () => {
    const { directory, pass, files, add } = fixture();
    const { text } = add('shop');
    files.found = found(filed('shop', SECRET));
    await directory.runOnce();
    files.found = { ...NONE, names: new Set(['shop']), problems: [{ file: 'shop/role', rule: 'expected …' }] };
    await pass(10 * SECOND);
    expect(await directory.identify(text)).toEqual({ kind: 'unknown' });
    expect([directory.isFiled('shop'), directory.isEmpty()]).toEqual([true, false]);
  });

  it('follows revocations while the disk hangs', async () => {
    const { directory, files, add, remove, state } = fixture();
    const { text } = add('gone');
    await directory.runOnce();
    expect(directory.identify(text)).toMatchObject(KNOWN('gone'));
    files.hangs = true;
    remove('gone');
    await directory.runOnce();
    await directory.runOnce();
    expect(state.versions).toBeGreaterThanOrEqual(2);
    expect(await directory.identify(text)).toEqual({ kind: 'unknown' });
  });
});

/** Makes a whole secret with a given public id. */
function makeSecretWithId(id: string): string {
  const digits = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
  const bytes = id.split('').map((digit) => digits.indexOf(digit));
  return makeSecret((size) => (bytes.length > 0 ? Uint8Array.from(bytes.splice(0, size)) : randomBytes(size))).text;
}
