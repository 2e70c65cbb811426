import type { ClientLimits } from '../../core/access/client.ts';
import type { Scope } from '../../core/access/scopes.ts';
import type { NewSecret } from '../../core/access/secret.ts';
import type { Run } from '../../postgres/database.ts';
import { loadSql } from '../../postgres/sql.ts';
import type { ClientTerms, PartialTerms } from './terms.ts';

/** A client as it is stored. Times are in ISO 8601. */
export interface ClientRecord extends ClientTerms {
  readonly name: string;
  readonly createdAt: string;
  readonly expiresAt: string | null;
  /** A revoked client cannot be used or changed any more. */
  readonly revokedAt: string | null;
  /** In the order in which they were made. Expired ones are among them for a while. */
  readonly secrets: readonly SecretRecord[];
}

export interface SecretRecord {
  readonly id: string;
  readonly createdAt: string;
  readonly expiresAt: string | null;
  /** To within about a minute. */
  readonly lastUsedAt: string | null;
}

/** When a client ends. Null: never. */
export interface Expiry {
  readonly expiresAt: string | null;
}

/**
 * Clients and their secrets in PostgreSQL. Each change increments the version in the same statement. Throws the errors
 * of `Database`.
 */
export interface ClientStore {
  /** Returns false if the name is taken. A revoked client keeps its name. */
  create(name: string, terms: ClientTerms & Expiry, secret: NewSecret): Promise<boolean>;
  /** Returns false for an unknown or revoked client. */
  change(name: string, terms: PartialTerms & Partial<Expiry>): Promise<boolean>;
  list(after: string, most: number, withRevoked: boolean): Promise<ClientRecord[]>;
  show(name: string): Promise<ClientRecord | null>;
  /**
   * Adds a secret; the others end after the overlap. Consists of two statements that have to be in one transaction.
   * @returns null if the secret was added; `full` if two valid secrets would remain beside it
   */
  rotate(name: string, secret: NewSecret, overlapMs: number): Promise<'unknown' | 'full' | null>;
  /** Returns false if the client has no such secret. */
  revokeSecret(name: string, secretId: string): Promise<boolean>;
  /** Ends the client and all its secrets for good. Returns false for an unknown client. */
  revoke(name: string): Promise<boolean>;
}

const CREATE_CLIENT = loadSql(import.meta.dirname, 'create-client');
const CHANGE_CLIENT = loadSql(import.meta.dirname, 'change-client');
const LIST_CLIENTS = loadSql(import.meta.dirname, 'list-clients');
const SHOW_CLIENT = loadSql(import.meta.dirname, 'show-client');
const HOLD_CLIENT = loadSql(import.meta.dirname, 'hold-client');
const ROTATE_SECRET = loadSql(import.meta.dirname, 'rotate-secret');
const REVOKE_SECRET = loadSql(import.meta.dirname, 'revoke-secret');
const REVOKE_CLIENT = loadSql(import.meta.dirname, 'revoke-client');

/**
 * @param run runs the statements, for `rotate` in a transaction; what it does is then part of the caller's transaction
 */
export function createClientStore(run: Run): ClientStore {
  const found = async (rows: Promise<object[]>): Promise<boolean> => (await rows).length > 0;
  return {
    create: (name, terms, { id, hash }) =>
      found(run(CREATE_CLIENT, [name, JSON.stringify(columnsOf(terms)), id, hash])),
    change: (name, terms) => found(run(CHANGE_CLIENT, [name, JSON.stringify(columnsOf(terms))])),
    async list(after, most, withRevoked) {
      return (await run<ClientRow>(LIST_CLIENTS, [after, most, withRevoked])).map(recordOf);
    },
    async show(name) {
      const [row] = await run<ClientRow>(SHOW_CLIENT, [name]);
      return row === undefined ? null : recordOf(row);
    },
    async rotate(name, { id, hash }, overlapMs) {
      if (!(await found(run(HOLD_CLIENT, [name])))) return 'unknown';
      return (await found(run(ROTATE_SECRET, [name, id, hash, overlapMs]))) ? null : 'full';
    },
    revokeSecret: (name, secretId) => found(run(REVOKE_SECRET, [name, secretId])),
    revoke: (name) => found(run(REVOKE_CLIENT, [name])),
  };
}

/** The columns of a client that hold its terms. */
export interface TermColumns {
  readonly scopes: Scope[];
  readonly queues: string[];
  readonly actions: string[];
  readonly rate_per_minute: number | null;
  readonly burst: number | null;
  readonly unfinished_max: number | null;
  readonly delay_max_ms: number | null;
  readonly timeout_max_ms: number | null;
}

interface ClientRow extends TermColumns {
  readonly name: string;
  readonly note: string;
  readonly created_at: Date;
  readonly expires_at: Date | null;
  readonly revoked_at: Date | null;
  readonly secrets: string | null;
}

export function limitsIn(row: TermColumns): ClientLimits {
  return {
    ratePerMinute: row.rate_per_minute,
    burst: row.burst,
    unfinishedMax: row.unfinished_max,
    delayMaxMs: row.delay_max_ms,
    timeoutMaxMs: row.timeout_max_ms,
  };
}

/** Returns the given terms by the names of their columns. JSON leaves out members that are undefined. */
function columnsOf({ scopes, queues, actions, limits, note, expiresAt }: PartialTerms & Partial<Expiry>): object {
  return {
    scopes,
    queues,
    actions,
    rate_per_minute: limits?.ratePerMinute,
    burst: limits?.burst,
    unfinished_max: limits?.unfinishedMax,
    delay_max_ms: limits?.delayMaxMs,
    timeout_max_ms: limits?.timeoutMaxMs,
    note,
    expires_at: expiresAt,
  };
}

type SecretJson = Readonly<Record<'id' | 'created_at', string> & Record<'expires_at' | 'last_used_at', string | null>>;

function recordOf(row: ClientRow): ClientRecord {
  const { name, scopes, queues, actions, note } = row;
  const secrets = JSON.parse(row.secrets ?? '[]') as SecretJson[];
  return {
    name,
    scopes,
    queues,
    actions,
    limits: limitsIn(row),
    note,
    createdAt: row.created_at.toISOString(),
    expiresAt: row.expires_at?.toISOString() ?? null,
    revokedAt: row.revoked_at?.toISOString() ?? null,
    secrets: secrets.map((secret) => ({
      id: secret.id,
      createdAt: new Date(secret.created_at).toISOString(),
      expiresAt: secret.expires_at === null ? null : new Date(secret.expires_at).toISOString(),
      lastUsedAt: secret.last_used_at === null ? null : new Date(secret.last_used_at).toISOString(),
    })),
  };
}
