import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { faultsOf, nameAt, pathOf, productionPaths, readLockFile, readManifest, type LockFile } from './lock-file.ts';

const root = join(import.meta.dirname, '../..');
const manifest = readManifest(join(root, 'package.json'));

/** The benchmark is installed with `--ignore-scripts`. This package would compile a faster decoder, and works without. */
const JUDGED_OF_BENCH = new Set(['msgpackr-extract']);
const JUDGED = new Set(Object.keys(manifest.allowScripts ?? {}));

describe('the lock files', () => {
  it.each([
    ['package-lock.json', 'package.json', JUDGED],
    ['bench/package-lock.json', 'bench/package.json', JUDGED_OF_BENCH],
  ])('%s: each package has its SHA-512, no install script is new, and versions are exact', (lock, own, judged) => {
    expect(faultsOf(readLockFile(join(root, lock)), readManifest(join(root, own)), judged)).toEqual([]);
  });

  it('only Node itself may run a script when it is installed', () => {
    expect(Object.entries(manifest.allowScripts ?? {}).filter(([, may]) => may)).toEqual([['node', true]]);
  });
});

describe('faultsOf', () => {
  const good = { version: '1.0.0', integrity: `sha512-${'A'.repeat(86)}==`, license: 'MIT' };
  const lockOf = (changes: object): LockFile => ({
    lockfileVersion: 3,
    packages: { '': {}, 'node_modules/a': { ...good, ...changes } },
  });
  const faults = (lock: LockFile, dependencies = {}) =>
    faultsOf(lock, { name: 'x', version: '1.0.0', license: 'MIT', dependencies }, new Set(['judged']));

  it.each([
    [{ integrity: undefined }, 'expected one sha512 as its integrity, got nothing'],
    [{ integrity: 'sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=' }, 'got sha1-'],
    [{ integrity: `sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk= ${good.integrity}` }, 'expected one sha512'],
    [{ resolved: 'git+ssh://git@example.org/a.git#main' }, 'names where it comes from'],
    [{ hasInstallScript: true }, 'has an install script that nobody has judged'],
  ])('finds %j', (changes, fault) => {
    const found = faults(lockOf(changes));
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(/^node_modules\/a: /);
    expect(found[0]).toContain(fault);
  });

  it.each(['^1.0.0', '~1.0.0', '1.x', '*', 'latest', '1.0', 'github:a/b', 'file:../a', ''])(
    'finds the version %j',
    (version) => {
      expect(faults(lockOf({}), { a: version })).toEqual([
        `package.json: a: expected an exact version, got ${version}`,
      ]);
    },
  );

  it('finds nothing else', () => {
    expect(faults(lockOf({}), { a: '1.0.0', b: '2.0.0-beta.2' })).toEqual([]);
    expect(
      faults({ lockfileVersion: 3, packages: { '': {}, 'node_modules/judged': { ...good, hasInstallScript: true } } }),
    ).toEqual([]);
  });
});

describe('paths', () => {
  const lock: LockFile = {
    lockfileVersion: 3,
    packages: {
      '': {},
      'node_modules/a': {},
      'node_modules/a/node_modules/@s/b': {},
      'node_modules/a/node_modules/@s/b/node_modules/c': {},
      'node_modules/@s/b': {},
      'node_modules/c': { dev: true },
    },
  };

  it('have the name of their package at the end', () => {
    expect(productionPaths(lock).map(nameAt)).toEqual(['@s/b', 'a', '@s/b', 'c']);
  });

  it.each([
    ['', '@s/b', 'node_modules/@s/b'],
    ['node_modules/a', '@s/b', 'node_modules/a/node_modules/@s/b'],
    ['node_modules/a/node_modules/@s/b', 'c', 'node_modules/a/node_modules/@s/b/node_modules/c'],
    ['node_modules/a/node_modules/@s/b', 'a', 'node_modules/a'],
    ['node_modules/@s/b', 'c', 'node_modules/c'],
    ['node_modules/a', 'missing', null],
  ])('from %j, %s is %s', (from, name, path) => {
    expect(pathOf(lock, from, name)).toBe(path);
  });
});
