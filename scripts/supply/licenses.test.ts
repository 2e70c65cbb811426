import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { foreignLicenses, isAccepted } from './licenses.ts';
import { readLockFile } from './lock-file.ts';

const root = join(import.meta.dirname, '../..');

it('the packages of the image have licences that were judged', () => {
  expect(foreignLicenses(readLockFile(join(root, 'package-lock.json')))).toEqual([]);
});

describe('isAccepted', () => {
  it.each(['MIT', 'Apache-2.0', '(MIT OR GPL-2.0-only)', 'GPL-3.0-only OR ISC'])('accepts %s', (license) => {
    expect(isAccepted(license)).toBe(true);
  });

  it.each([
    'GPL-3.0-only',
    'AGPL-3.0-or-later',
    'LGPL-2.1-only',
    'MPL-2.0',
    'BUSL-1.1',
    'MIT AND GPL-2.0-only',
    '(MIT AND CC-BY-SA-4.0) OR GPL-2.0-only',
    'UNLICENSED',
    'SEE LICENSE IN LICENSE.md',
    'none',
    '',
  ])('leaves %j to a person', (license) => {
    expect(isAccepted(license)).toBe(false);
  });

  it('names the package', () => {
    const packages = {
      '': {},
      'node_modules/a': { license: 'GPL-3.0-only' },
      'node_modules/b': {},
      'node_modules/c': { dev: true },
    };
    expect(foreignLicenses({ lockfileVersion: 3, packages })).toEqual([
      'node_modules/a: GPL-3.0-only',
      'node_modules/b: none',
    ]);
  });
});
