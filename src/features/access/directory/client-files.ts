import { readdir, readFile, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CLIENT_NAME_RULE, isClientName, type Client } from '../../../core/access/client.ts';
import { ROLES } from '../../../core/access/scopes.ts';
import { hashOfSecret } from '../../../core/access/secret.ts';
import { completeTerms, makeClient, readTerms, TERM_NAMES, type ClientTerms, type TermProblem } from '../terms.ts';

/** A client that is kept in files. Its secrets are known only by their SHA-256, in hexadecimal digits. */
export interface FileClient {
  readonly client: Client;
  readonly terms: ClientTerms;
  readonly hashes: readonly string[];
}

/** What is wrong with a file. The text of the file is never part of it. */
export interface FileProblem {
  /** Path of the file or directory below the directory of clients. */
  readonly file: string;
  readonly rule: string;
}

export interface FoundClients {
  readonly clients: readonly FileClient[];
  /** The names of all directories, also of those that cannot be used as clients. */
  readonly names: ReadonlySet<string>;
  readonly problems: readonly FileProblem[];
}

/** The files with the secrets of a client. The second one is there while a secret is being replaced. */
const SECRET_FILES = ['secret', 'secret-next', 'secret-previous'] as const;

const KNOWN_FILES: ReadonlySet<string> = new Set([...SECRET_FILES, ...TERM_NAMES]);

/** A header cannot carry other characters. */
const USABLE = /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/;
const SECRET_MIN = 32;
const SECRET_MAX = 1_024;

/** Longest text of a file, in characters. */
const TEXT_MAX = 16_384;

/**
 * Reads the clients below a directory: each has a directory with its name, and in it the file `secret`. Beside it, a
 * file for each term that is given: `role`, `queues` and so on. A client with a problem, such as an unknown file, is
 * left out, the others are not.
 * @throws the error of the operating system if the directory cannot be read
 */
export async function readClientFiles(directory: string): Promise<FoundClients> {
  return steadily(directory, readClients);
}

async function readClients(root: string): Promise<FoundClients> {
  const problems: FileProblem[] = [];
  const clients: FileClient[] = [];
  const holders = new Map<string, string>();
  const names = await visibleIn(root);
  for (const name of names) {
    const found = await steadily(join(root, name), (place) => readClient(place, name));
    const taken = 'client' in found ? found.hashes.map((hash) => holders.get(hash)).find(Boolean) : undefined;
    if (!('client' in found)) problems.push(found);
    else if (taken !== undefined) problems.push({ file: name, rule: `has the same secret as the client ${taken}` });
    else {
      clients.push(found);
      for (const hash of found.hashes) holders.set(hash, name);
    }
  }
  return { clients, names: new Set(names), problems };
}

/** Lists what a directory holds, without what the kubelet keeps there for itself. */
async function visibleIn(directory: string): Promise<string[]> {
  return (await readdir(directory)).filter((entry) => !entry.startsWith('.')).toSorted();
}

/** Tries to read files that are replaced meanwhile. They are replaced once a minute at most. */
const READS = 3;

/**
 * Reads files that belong together. The kubelet replaces all files of a volume at once: it lets the link `..data` point
 * to another directory, and deletes the old one. What was read from a directory that is gone does not count.
 */
async function steadily<Result>(directory: string, read: (place: string) => Promise<Result>): Promise<Result> {
  for (let reads = 1; ; reads++) {
    const place = await placeOf(directory);
    const [result] = await Promise.allSettled([read(place)]);
    if (reads < READS && (await placeOf(directory)) !== place) continue;
    if (result.status === 'rejected') throw result.reason;
    return result.value;
  }
}

/** Returns the directory in which the files of a volume really are. */
async function placeOf(directory: string): Promise<string> {
  return realpath(join(directory, '..data')).catch(() => directory);
}

async function readClient(place: string, name: string): Promise<FileClient | FileProblem> {
  if (!isClientName(name)) return { file: name, rule: `the name of a client has ${CLIENT_NAME_RULE}` };
  if (!(await isDirectory(place))) {
    return { file: name, rule: 'expected a directory with the file `secret` and others' };
  }
  const texts = new Map<string, string>();
  for (const file of await visibleIn(place)) {
    // A limit in a misspelt file would not apply, and nobody would notice.
    if (!KNOWN_FILES.has(file)) return { file: join(name, file), rule: `is not one of ${[...KNOWN_FILES].join(', ')}` };
    const text = await readText(join(place, file));
    if (text === null) continue;
    if (typeof text !== 'string') return { file: join(name, file), rule: text.rule };
    texts.set(file, text);
  }
  return clientIn(name, texts);
}

function clientIn(name: string, texts: ReadonlyMap<string, string>): FileClient | FileProblem {
  const secrets = SECRET_FILES.filter((file) => texts.has(file));
  if (!texts.has('secret')) return { file: join(name, 'secret'), rule: 'is missing' };
  if (secrets.length > 2) return { file: join(name, 'secret-previous'), rule: 'a client has at most two secrets' };
  for (const file of secrets) {
    const text = texts.get(file) as string;
    if (text.length < SECRET_MIN || text.length > SECRET_MAX || !USABLE.test(text)) {
      return { file: join(name, file), rule: `expected ${SECRET_MIN} to ${SECRET_MAX} printable ASCII characters` };
    }
  }
  const read = readTerms(Object.fromEntries(TERM_NAMES.map((term) => [term, texts.get(term)])));
  if ('problems' in read) {
    const [{ term, rule }] = read.problems as [TermProblem];
    return { file: join(name, term), rule };
  }
  const terms = completeTerms(read.terms, read.terms.scopes ?? ROLES.submitter);
  return {
    client: makeClient(name, terms),
    terms,
    hashes: secrets.map((file) => hashOfSecret(texts.get(file) as string)),
  };
}

async function isDirectory(path: string): Promise<boolean> {
  return (await stat(path).catch(() => null))?.isDirectory() === true;
}

/** Returns the trimmed text of a file, null if there is none, or why it cannot be read. */
async function readText(path: string): Promise<string | null | { readonly rule: string }> {
  try {
    const text = await readFile(path, 'utf8');
    return text.length > TEXT_MAX ? { rule: 'is too long' } : text.trim();
  } catch (error) {
    const { code = 'unknown error' } = error as NodeJS.ErrnoException;
    return code === 'ENOENT' ? null : { rule: `cannot be read (${code})` };
  }
}
