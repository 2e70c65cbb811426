import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** A statement and the name under which it is prepared. */
export interface Statement {
  readonly name: string;
  readonly text: string;
}

/**
 * Loads `<name>.sql` from a directory. The header comment of the file states its contract: `-- args:` and `-- returns:`.
 * Comments are not sent to PostgreSQL.
 * @param directory the caller's `import.meta.dirname`
 */
export function loadSql(directory: string, name: string): Statement {
  const source = readFileSync(join(directory, `${name}.sql`), 'utf8');
  const text = source
    .split('\n')
    .filter((line) => !line.trimStart().startsWith('--'))
    .join('\n')
    .trim();
  return { name, text };
}
