import { randomUUID } from 'node:crypto';
import type { Config } from '../../config/env.ts';
import { objectName, requestActor } from '../../core/access/audit.ts';
import { cookieOfSession } from '../../http/access/session-cookie.ts';
import { writeAudit } from '../../postgres/audit/write-audit.ts';
import type { Database } from '../../postgres/database.ts';
import type { LiveSessions } from './live-sessions.ts';
import { PROVIDER_PREFIX } from './provider-prefix.ts';
import { createSessionStore, type SessionHolder } from './session-store.ts';
import { hashOfToken, makeToken } from './session-token.ts';

/** Who gets a session: whoever has a secret of a client, or a person whom a provider knows. */
export type Holder =
  | {
      readonly kind: 'secret';
      readonly client: string;
      /** Null for a client in files. */
      readonly secretId: string | null;
      /** SHA-256 of the secret. */
      readonly secretHash: Buffer;
    }
  | { readonly kind: 'provider'; readonly name: string; readonly grant: string };

export interface OpenedSession {
  readonly id: string;
  /** Only the browser may have it. */
  readonly token: string;
  /** In milliseconds since 1970, by PostgreSQL's clock. */
  readonly expiresAtMs: number;
  readonly lifetimeMs: number;
}

/** Where the request for a session came from. */
export interface OpenedBy {
  readonly address: string;
  readonly traceId: string;
}

/** Opens a session, with its row in the audit log in the same transaction. Throws the errors of `Database`. */
export type OpenSession = (holder: Holder, by: OpenedBy) => Promise<OpenedSession>;

/** A client has at most this many sessions. The oldest one ends when another one begins. */
export const SESSIONS_MAX = 50;

export interface OpenSessionOptions {
  readonly database: Pick<Database, 'transaction'>;
  readonly config: Pick<Config, 'SESSION_TTL'>;
  readonly live: Pick<LiveSessions, 'forget'>;
}

export function createOpenSession({ database, config, live }: OpenSessionOptions): OpenSession {
  const lifetimeMs = config.SESSION_TTL;
  return async (holder, { address, traceId }) => {
    const token = makeToken();
    const id = randomUUID();
    const stored = holderOf(holder);
    const actor = requestActor(stored.client, address, traceId);
    const opened = await database.transaction(async (run) => {
      const session = { ...stored, hash: hashOfToken(token), id, address, ttlMs: lifetimeMs };
      const result = await createSessionStore(run).open(session, SESSIONS_MAX);
      const ended = result.ended.map((one) => one.id);
      await writeAudit(run, actor, {
        action: 'session.open',
        objects: [objectName('session', id), objectName('client', stored.client)],
        details: { opened_by: holder.kind, ...(ended.length > 0 ? { ended } : {}) },
      });
      return result;
    });
    live.forget(opened.ended.map(({ hash }) => hash));
    return { id, token, expiresAtMs: opened.expiresAtMs, lifetimeMs };
  };
}

/** Returns the `Set-Cookie` that gives a session to the browser that has asked for it. */
export function sessionCookie({ token, lifetimeMs }: OpenedSession): string {
  return cookieOfSession(token, Math.floor(lifetimeMs / 1_000));
}

function holderOf(holder: Holder): SessionHolder {
  if (holder.kind === 'provider') {
    return { client: PROVIDER_PREFIX + holder.name, secretId: null, secretHash: null, grantName: holder.grant };
  }
  const { client, secretId, secretHash } = holder;
  return { client, secretId, secretHash: secretHash.toString('hex'), grantName: null };
}
