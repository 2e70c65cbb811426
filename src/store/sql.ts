import { readFileSync } from 'node:fs';

/** One statement of `sql/`, with the name under which it is prepared. */
export interface Statement {
  readonly name: string;
  readonly text: string;
}

/**
 * Loads `sql/<name>.sql`. The header comment of the file is its contract:
 * `-- args:` and `-- returns:`. It is left out of what is sent.
 */
export function loadSql(name: string): Statement {
  const source = readFileSync(new URL(`./sql/${name}.sql`, import.meta.url), 'utf8');
  const text = source
    .split('\n')
    .filter((line) => !line.trimStart().startsWith('--'))
    .join('\n')
    .trim();
  return { name, text };
}
