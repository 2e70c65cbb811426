import { globSync, readFileSync } from 'node:fs';
import { basename, join, relative } from 'node:path';
import { readBoundaries, trespassesIn } from './boundaries.ts';

/** Checks conventions that compiler and linter cannot check. Prints violations, and exits with code 1 if it found one. */
interface Source {
  readonly path: string;
  readonly lines: readonly string[];
}

const root = join(import.meta.dirname, '..');
const problems: string[] = [];
const boundaries = readBoundaries(readFileSync(join(root, 'docs/internals.md'), 'utf8'));

for (const source of sources('src/**/*.ts').filter(({ path }) => !path.endsWith('.test.ts'))) {
  checkLength(source);
  checkImports(source);
}
for (const source of sources('src/**/*')) checkName(source);
for (const source of sources('src/**/*.lua')) checkLua(source);
for (const source of sources('src/**/*.sql')) checkSql(source);
for (const ending of ['lua', 'sql']) checkNamesDiffer(sources(`src/**/*.${ending}`));

for (const problem of problems) console.log(problem);
if (problems.length > 0) process.exitCode = 1;

function sources(pattern: string): Source[] {
  return globSync(pattern, { cwd: root, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .toSorted()
    .map((path) => ({ path: path.slice(root.length + 1), lines: readFileSync(path, 'utf8').split('\n') }));
}

function report(source: Source, line: number, message: string): void {
  problems.push(`${source.path}:${line}: ${message}`);
}

function checkLength(source: Source): void {
  const most = 400;
  const length = source.lines.length - 1;
  if (length > most) report(source, length, `${length} lines; a file has at most ${most}`);
}

function checkImports(source: Source): void {
  for (const { line, message } of trespassesIn(relative('src', source.path), source.lines.join('\n'), boundaries))
    report(source, line, message);
}

function checkName(source: Source): void {
  const name = basename(source.path);
  if (/(^|[-.])(utils?|helpers?|common|managers?|misc)[-.]/.test(name))
    report(source, 1, `${name} does not say what it is for`);
  if (!/^[a-z0-9]+([-.][a-z0-9]+)*$/.test(name)) report(source, 1, `${name} is not in kebab-case`);
}

/** Statements are prepared under the names of their files, and tests find both kinds by name. */
function checkNamesDiffer(files: readonly Source[]): void {
  const byName = Map.groupBy(files, ({ path }) => basename(path));
  for (const [name, same] of byName) {
    for (const source of same.slice(1)) report(source, 1, `${same[0]?.path} is called ${name} too`);
  }
}

/** A script names its keys and arguments once, in the lines right below its header. */
function checkLua(source: Source): void {
  for (const word of ['KEYS', 'ARGV', 'RETURNS']) {
    if (!source.lines.some((line) => line.startsWith(`-- ${word}`))) report(source, 1, `the header lacks ${word}`);
  }
  const start = source.lines.findIndex((line) => !line.startsWith('--') && !line.startsWith('#!'));
  const length = source.lines.slice(start).findIndex((line) => !line.startsWith('local '));
  source.lines.forEach((line, index) => {
    const code = line.replace(/--.*/, '');
    if (index >= start + length && /\b(KEYS|ARGV)\b/.test(code)) {
      report(source, index + 1, 'KEYS and ARGV get local names in the first lines; use these names below');
    }
  });
}

function checkSql(source: Source): void {
  const name = basename(source.path, '.sql');
  if (source.lines[0] !== `-- name: ${name}`) report(source, 1, `the first line is not "-- name: ${name}"`);
  if (!source.lines[1]?.startsWith('-- args: ')) report(source, 2, 'the second line does not give the arguments');
  if (!source.lines.some((line) => line.startsWith('-- returns: ')))
    report(source, 3, 'the header does not say what is returned');
  source.lines.forEach((line, index) => {
    const code = line.replace(/--.*/, '').replaceAll('count(*)', '');
    if (/\bSELECT\s+([a-z]\w*\.)?\*|\bRETURNING\s+([a-z]\w*\.)?\*/i.test(code))
      report(source, index + 1, 'columns are named, never *');
  });
}
