import type { Database } from './database.ts';
import { loadSql } from './sql.ts';

const SEALING_KEY = loadSql(import.meta.dirname, 'sealing-key');

/**
 * Reads one of the keys that the migration made. A key has 32 bytes. Throws the errors of `Database`.
 * @param name the purpose of the key
 */
export async function readSealingKey(database: Database, name: 'cursors' | 'logins'): Promise<Buffer> {
  const [row] = await database.run<{ key: Buffer }>(SEALING_KEY, [name]);
  if (row === undefined) throw new Error(`the table sealing_keys has no key ${name}`);
  return row.key;
}
