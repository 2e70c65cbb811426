import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** A statement and the name under which it is prepared. */
export interface Statement {
  readonly name: string;
  readonly text: string;
  /**
   * `array`: the rows are arrays of values in the order of the columns. A row object costs a few times as much, because
   * `pg` sets each of its fields by name. That matters only for statements that return hundreds of rows all the time.
   */
  readonly rowMode?: 'array';
}

/**
 * Loads `<name>.sql` from a directory. The header comment of the file states its contract: `-- args:` and `-- returns:`.
 * Comments are not sent to PostgreSQL.
 * @param directory the caller's `import.meta.dirname`
 */
export function loadSql(directory: string, name: string): Statement {
  return { name, text: withoutComments(readSource(directory, name)) };
}

/**
 * Loads a statement without one of its parts, which then costs no planning. In the file, the part begins with the line
 * `-- part: <part>` and ends with the line `-- end of <part>`.
 */
export function loadSqlWithout(directory: string, name: string, part: string): Statement {
  const source = readSource(directory, name);
  const [begin, end] = [source.indexOf(`-- part: ${part}\n`), source.indexOf(`-- end of ${part}\n`)];
  if (begin < 0 || end < begin) throw new Error(`${name}.sql has no part ${part}`);
  return { name: `${name}-without-${part}`, text: withoutComments(source.slice(0, begin) + source.slice(end)) };
}

const readSource = (directory: string, name: string): string => readFileSync(join(directory, `${name}.sql`), 'utf8');

const withoutComments = (source: string): string =>
  source
    .split('\n')
    .filter((line) => !line.trimStart().startsWith('--'))
    .join('\n')
    .trim();
