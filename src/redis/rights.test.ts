import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { documentedRules } from '../../test/harness/redis-user.ts';
import { createKeys } from './keys.ts';
import { missingRights, USED_COMMANDS } from './rights.ts';

const directory = join(import.meta.dirname, '..');
const textOf = (pattern: string, about = /^/): string =>
  globSync(pattern, { cwd: directory })
    .filter((path) => !path.endsWith('.test.ts'))
    .map((path) => readFileSync(join(directory, path), 'utf8'))
    .filter((text) => about.test(text))
    .join('\n');

/** Files that get a client or a connection. */
const SPEAKS_TO_REDIS = /\bRedis(?:Client|Connection)\b|\bcreateRedis\b/;

it('the checked commands are those that the scripts and the client use', () => {
  const inScripts = textOf('**/*.lua').matchAll(/redis\.call\('(\w+)'/g);
  const ofClient = textOf('**/*.ts', SPEAKS_TO_REDIS).matchAll(/\b(?:client|redis|opened|blocking)\.(\w+)\(/g);
  const notCommands = new Set([
    'on',
    'off',
    'once',
    'disconnect',
    'call',
    'script',
    'openBlocking',
    'checkRights',
    'close',
    'isRefused',
    'problem',
    'untilReady',
    'info',
  ]);
  const used = [...inScripts, ...ofClient].flatMap(([, name = '']) =>
    notCommands.has(name) ? [] : [name.toLowerCase()],
  );
  expect([...new Set(used)].toSorted()).toEqual(USED_COMMANDS);
});

it('docs/redis.md lists exactly these rights, and all patterns', () => {
  const rule = documentedRules('scheduler').least.split(' ');
  expect(rule.filter((word) => word.startsWith('+')).map((word) => word.slice(1))).toEqual(USED_COMMANDS);
  const keys = createKeys('scheduler', 'scheduler:');
  expect(rule.filter((word) => /^[~&]/.test(word))).toEqual([
    ...keys.patterns.map((one) => one.rule),
    keys.channelRule,
  ]);
  // Without these words, Redis would keep the keys, channels and commands that a user had before.
  expect(rule).toEqual(expect.arrayContaining(['resetkeys', 'resetchannels', '-@all']));
});

it('reports unknown commands, missing commands and missing key patterns differently', async () => {
  const keys = createKeys('scheduler', '');
  const answer =
    (verdict: (words: readonly string[]) => number) => async (_script: unknown, args: readonly string[]) => {
      const verdicts: number[] = [];
      for (let at = 0; at < args.length; at += Number(args[at]) + 1) verdicts.push(verdict(args.slice(at + 1)));
      return verdicts;
    };
  expect(
    await missingRights(
      keys,
      true,
      answer(() => 1),
    ),
  ).toEqual([]);
  expect(
    await missingRights(
      keys,
      false,
      answer(([name]) => (name === 'zadd' ? -1 : 1)),
    ),
  ).toEqual([{ what: 'ZADD, which the server does not know (was it renamed?)', rule: null }]);
  expect(
    await missingRights(
      keys,
      true,
      answer(([name]) => (name === 'cluster' ? 0 : 1)),
    ),
  ).toEqual([{ what: 'CLUSTER|SLOTS', rule: '+cluster|slots' }]);
  expect(
    (
      await missingRights(
        keys,
        false,
        answer(() => 0),
      )
    ).map(({ rule }) => rule),
  ).toEqual(keys.patterns.map(({ rule }) => rule));
});
