import { globSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { loadSql, type Statement } from '../../src/postgres/sql.ts';
import { loadScript, type Script } from '../../src/redis/scripts.ts';

const SOURCES = join(import.meta.dirname, '../../src');

/** Returns the source files with an extension, by name without it. @throws if two files have the same name */
function filesNamed(ending: string): ReadonlyMap<string, string> {
  const files = globSync(`**/*${ending}`, { cwd: SOURCES }).map((path) => join(SOURCES, path));
  const byName = new Map(files.map((path) => [basename(path, ending), path]));
  if (byName.size < files.length) throw new Error(`two files of src have the same name: ${files.toSorted().join(' ')}`);
  return byName;
}

/** Paths of all statements by their names. */
export const sqlFiles = (): ReadonlyMap<string, string> => filesNamed('.sql');

/** Paths of all Lua scripts by their names. */
const luaFiles = (): ReadonlyMap<string, string> => filesNamed('.lua');

export const statementNamed = (name: string): Statement => loadSql(directoryOf(sqlFiles(), name), name);

export const scriptNamed = (name: string): Script => loadScript(directoryOf(luaFiles(), name), name);

function directoryOf(files: ReadonlyMap<string, string>, name: string): string {
  const path = files.get(name);
  if (path === undefined) throw new Error(`src has no ${name}`);
  return dirname(path);
}
