import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NO_LIMITS, type Client, type ClientLimits } from '../../src/core/access/client.ts';
import { ROLES, type Role, type Scope } from '../../src/core/access/scopes.ts';
import { completeTerms, makeClient } from '../../src/features/access/terms.ts';
import { atEndOfFile } from './end-of-file.ts';

export interface TestClient {
  /** Default: `submitter`. */
  readonly role?: Role;
  /** Instead of a role. */
  readonly scopes?: readonly Scope[];
  /** Default: `*`. */
  readonly queues?: readonly string[];
  /** Default: `*`. */
  readonly actions?: readonly string[];
  readonly limits?: Partial<ClientLimits>;
}

export function testClient(name: string, { role = 'submitter', scopes = ROLES[role], ...terms }: TestClient): Client {
  return makeClient(name, completeTerms(terms, scopes));
}

/** A test's clients have secrets that are made of their names. */
export const secretOf = (name: string): string => `secret-of-${name}-`.padEnd(40, '0');

/** Returns settings of an API that asks for keys, and knows these clients from files. */
export function clientsInFiles(clients: Readonly<Record<string, TestClient>>): Record<string, string> {
  const directory = mkdtempSync(join(tmpdir(), 'clients-'));
  atEndOfFile(async () => rmSync(directory, { recursive: true, force: true }));
  for (const [name, given] of Object.entries(clients)) {
    mkdirSync(join(directory, name));
    for (const [file, text] of Object.entries(filesOf(name, given))) writeFileSync(join(directory, name, file), text);
  }
  return { AUTH: 'keys', CLIENTS_DIR: directory };
}

/** Gives a client of `clientsInFiles` another secret. */
export function rewriteClient({ CLIENTS_DIR = '' }: Record<string, string>, name: string, secret: string): void {
  writeFileSync(join(CLIENTS_DIR, name, 'secret'), secret);
}

function filesOf(
  name: string,
  { role = 'submitter', scopes, queues = ['*'], actions = ['*'], limits = {} }: TestClient,
) {
  const { ratePerMinute, burst, unfinishedMax, delayMaxMs, timeoutMaxMs } = { ...NO_LIMITS, ...limits };
  const terms = {
    ...(scopes === undefined ? { role } : { scopes: scopes.join(',') }),
    queues: queues.join(','),
    actions: actions.join(','),
    rate: ratePerMinute,
    burst,
    'unfinished-max': unfinishedMax,
    'delay-max': delayMaxMs === null ? null : `${delayMaxMs}ms`,
    'timeout-max': timeoutMaxMs === null ? null : `${timeoutMaxMs}ms`,
  };
  const given = Object.entries(terms).filter(([, value]) => value !== null);
  return { secret: secretOf(name), ...Object.fromEntries(given.map(([file, value]) => [file, String(value)])) };
}

/** Headers of a request on behalf of a client. */
export const as = (name: string): Record<string, string> => ({ authorization: `Bearer ${secretOf(name)}` });
