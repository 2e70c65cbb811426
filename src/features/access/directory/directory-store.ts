import type { Client } from '../../../core/access/client.ts';
import type { Database } from '../../../postgres/database.ts';
import { loadSql } from '../../../postgres/sql.ts';
import { limitsIn, type TermColumns } from '../client-store.ts';
import { makeClient } from '../terms.ts';

/** A secret of a client that is not revoked. Times are milliseconds from the moment of reading; null: it never ends. */
export interface StoredSecret {
  readonly client: Client;
  readonly id: string;
  /** SHA-256 of the secret. */
  readonly hash: Buffer;
  readonly secretEndsMs: number | null;
  readonly clientEndsMs: number | null;
}

export interface SecretUse {
  readonly id: string;
  /** Milliseconds since the last use. */
  readonly ageMs: number;
}

/** What the directory of an API process asks of PostgreSQL. Throws the errors of `Database`. */
export interface DirectoryStore {
  /** Returns a number that differs after every change of a client or a secret. */
  version(): Promise<number>;
  /** Reads all secrets of all clients, with the version to which they belong. */
  read(): Promise<{ readonly version: number; readonly secrets: readonly StoredSecret[] }>;
  noteUses(uses: readonly SecretUse[]): Promise<void>;
}

const CLIENTS_VERSION = loadSql(import.meta.dirname, 'clients-version');
const READ_CLIENTS = loadSql(import.meta.dirname, 'read-clients');
const NOTE_USES = loadSql(import.meta.dirname, 'note-uses');

export function createDirectoryStore({ run }: Pick<Database, 'run'>): DirectoryStore {
  return {
    async version() {
      const [row] = await run<{ version: number }>(CLIENTS_VERSION, []);
      if (row === undefined) throw new Error('the table clients_version is empty');
      return row.version;
    },
    async read() {
      const rows = await run<SecretRow>(READ_CLIENTS, []);
      if (rows[0] === undefined) throw new Error('the table clients_version is empty');
      // Secrets of one client share the client.
      const clients = new Map<string, Client>();
      const clientOf = (row: SecretRow): Client => {
        const client = clients.get(row.name) ?? makeClient(row.name, { ...row, limits: limitsIn(row) });
        clients.set(row.name, client);
        return client;
      };
      const found = rows.filter(({ secret_id }) => secret_id !== null);
      const secrets = found.map((row) => ({
        client: clientOf(row),
        id: row.secret_id as string,
        hash: row.hash,
        secretEndsMs: row.secret_ends_ms,
        clientEndsMs: row.client_ends_ms,
      }));
      return { version: rows[0].version, secrets };
    },
    async noteUses(uses) {
      await run(NOTE_USES, [uses.map(({ id }) => id), uses.map(({ ageMs }) => ageMs)]);
    },
  };
}

/** A row without a secret has nulls in all columns but the version. */
interface SecretRow extends TermColumns {
  readonly version: number;
  readonly secret_id: string | null;
  readonly hash: Buffer;
  readonly secret_ends_ms: number | null;
  readonly client_ends_ms: number | null;
  readonly name: string;
}
