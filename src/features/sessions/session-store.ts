import type { Run } from '../../postgres/database.ts';
import { loadSql } from '../../postgres/sql.ts';

/** Who a session belongs to, as it is stored. */
export interface SessionHolder {
  /** Name of the client, or `oidc:` and the name of a person. */
  readonly client: string;
  readonly secretId: string | null;
  /** SHA-256 of the secret with which the session was opened, in hexadecimal digits; null if a provider opened it. */
  readonly secretHash: string | null;
  /** Name of the grant by which a provider opened it; otherwise null. */
  readonly grantName: string | null;
}

/** A session that is about to begin. */
export interface NewSession extends SessionHolder {
  /** SHA-256 of its token, in hexadecimal digits. */
  readonly hash: string;
  readonly id: string;
  readonly address: string;
  readonly ttlMs: number;
}

/** A session that has not ended, as requests need it. */
export interface StoredSession extends SessionHolder {
  readonly hash: string;
  readonly id: string;
  /** In milliseconds since 1970. */
  readonly expiresAtMs: number;
  /** Milliseconds from the moment of reading. */
  readonly endsInMs: number;
}

export interface EndedSession {
  readonly id: string;
  readonly client: string;
  readonly hash: string;
}

/** Sessions in PostgreSQL, which has only the hashes of their tokens. Throws the errors of `Database`. */
export interface SessionStore {
  /**
   * Begins a session. The oldest ones of the client end if there would be more than `most`. Consists of two statements
   * that have to be in one transaction.
   */
  open(session: NewSession, most: number): Promise<{ readonly expiresAtMs: number; readonly ended: EndedSession[] }>;
  /** Finds the sessions with these hashes that have not ended, and notes that they are used. */
  find(hashes: readonly string[]): Promise<StoredSession[]>;
  /** Returns null if there is no such session. */
  end(hash: string): Promise<EndedSession | null>;
  endById(id: string): Promise<EndedSession | null>;
  /** Ends all sessions of a client. Consists of two statements that have to be in one transaction. */
  endAllOf(client: string): Promise<EndedSession[]>;
}

const HOLD_SESSIONS = loadSql(import.meta.dirname, 'hold-sessions');
const OPEN_SESSION = loadSql(import.meta.dirname, 'open-session');
const FIND_SESSIONS = loadSql(import.meta.dirname, 'find-sessions');
const END_SESSION = loadSql(import.meta.dirname, 'end-session');
const END_SESSION_BY_ID = loadSql(import.meta.dirname, 'end-session-by-id');
const END_SESSIONS_OF_CLIENT = loadSql(import.meta.dirname, 'end-sessions-of-client');

/** @param run runs the statements, for `open` and `endAllOf` in a transaction */
export function createSessionStore(run: Run): SessionStore {
  const bytes = (hex: string | null): Buffer | null => (hex === null ? null : Buffer.from(hex, 'hex'));
  return {
    async open({ hash, id, client, secretId, secretHash, grantName, address, ttlMs }, most) {
      await run(HOLD_SESSIONS, [client]);
      const values = [bytes(hash), id, client, secretId, bytes(secretHash), grantName, address, ttlMs, most];
      const [row] = await run<OpenedRow>(OPEN_SESSION, values);
      if (row === undefined) throw new Error('the session was not inserted');
      const ended = row.ended_ids.map((ended_id, i) => ({ id: ended_id, client, hash: row.ended_hashes[i] as string }));
      return { expiresAtMs: row.expires_at.getTime(), ended };
    },
    async find(hashes) {
      return (await run<SessionRow>(FIND_SESSIONS, [hashes.map(bytes)])).map((row) => ({
        hash: row.hash,
        id: row.id,
        client: row.client,
        secretId: row.secret_id,
        secretHash: row.secret_hash,
        grantName: row.grant_name,
        expiresAtMs: row.expires_at.getTime(),
        endsInMs: row.ends_in_ms,
      }));
    },
    async end(hash) {
      return (await run<EndedSession>(END_SESSION, [bytes(hash)]))[0] ?? null;
    },
    async endById(id) {
      return (await run<EndedSession>(END_SESSION_BY_ID, [id]))[0] ?? null;
    },
    async endAllOf(client) {
      await run(HOLD_SESSIONS, [client]);
      return run<EndedSession>(END_SESSIONS_OF_CLIENT, [client]);
    },
  };
}

interface OpenedRow {
  readonly expires_at: Date;
  readonly ended_ids: string[];
  readonly ended_hashes: string[];
}

interface SessionRow {
  readonly hash: string;
  readonly id: string;
  readonly client: string;
  readonly secret_id: string | null;
  readonly secret_hash: string | null;
  readonly grant_name: string | null;
  readonly expires_at: Date;
  readonly ends_in_ms: number;
}
