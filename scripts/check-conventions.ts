import { globSync, readFileSync } from 'node:fs';
import { basename, join, relative, sep } from 'node:path';

/** Conventions that neither the compiler nor the linter can check. Prints what breaks one, and exits 1 if anything does. */
interface Source {
  readonly path: string;
  readonly lines: readonly string[];
}

const root = join(import.meta.dirname, '..');
const problems: string[] = [];
const boundaries = readBoundaries();

for (const source of sources('src/**/*.ts').filter(({ path }) => !path.endsWith('.test.ts'))) {
  checkLength(source);
  checkImports(source);
}
for (const source of sources('src/**/*')) checkName(source);
for (const source of sources('src/queue/scripts/*.lua')) checkLua(source);
for (const source of sources('src/store/sql/*.sql')) checkSql(source);

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

/** What each directory of `src` may import of the others, as the table in docs/internals.md has it. */
function readBoundaries(): ReadonlyMap<string, readonly string[]> {
  const text = readFileSync(join(root, 'docs/internals.md'), 'utf8');
  const rows = text.matchAll(/^\| ([`a-z/, ]+) \|[^|]*\| ([a-z, ]+) \|$/gm);
  return new Map(
    [...rows].flatMap(([, directories = '', targets = '']) =>
      [...directories.matchAll(/`([a-z]+)\/`/g)].map(([, name = '']) => [name, targets.split(', ')] as const),
    ),
  );
}

function checkImports(source: Source): void {
  const [directory = ''] = placeInSource(source.path);
  if (source.path === 'src/main.ts') return;
  const allowed = boundaries.get(directory);
  if (allowed === undefined) return report(source, 1, `docs/internals.md does not say what ${directory}/ may import`);
  source.lines.forEach((line, index) => {
    for (const [, path = ''] of line.matchAll(/\b(?:from|import)[\s(]*['"`](\.[^'"`]*)/g)) {
      const [target = ''] = placeInSource(join(source.path, '..', path));
      if (target !== directory && !allowed.includes(target))
        report(source, index + 1, `${directory}/ may not import ${path}: see the table in docs/internals.md`);
    }
  });
}

/** The directory of `src` that a file lies in, and the rest of its path. */
function placeInSource(path: string): string[] {
  return relative('src', path).split(sep);
}

function checkName(source: Source): void {
  const name = basename(source.path);
  if (/(^|[-.])(utils?|helpers?|common|managers?|misc)[-.]/.test(name))
    report(source, 1, `${name} does not say what it is for`);
  if (!/^[a-z0-9]+([-.][a-z0-9]+)*$/.test(name)) report(source, 1, `${name} is not in kebab-case`);
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
      report(source, index + 1, 'KEYS and ARGV are named in the first lines, and used by these names below');
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
