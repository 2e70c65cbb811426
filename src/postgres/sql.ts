import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** One statement, with the name under which it is prepared. */
export interface Statement {
  readonly name: string;
  readonly text: string;
}

/**
 * Loads `<name>.sql` of a directory. The header comment of the file is its contract:
 * `-- args:` and `-- returns:`. It is left out of what is sent.
 * @param directory the caller's own: `import.meta.dirname`
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
