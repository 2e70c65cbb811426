import type { Reader } from '../../postgres/reads/reader.ts';

/** A session as it is listed. Times are in PostgreSQL's text format. */
export interface SessionListRow {
  readonly id: string;
  readonly client: string;
  readonly secret_id: string | null;
  readonly grant_name: string | null;
  readonly address: string;
  readonly created_at: string;
  readonly used_at: string;
  readonly expires_at: string;
}

/** The position at which a page ended. */
export interface SessionPosition {
  /** In PostgreSQL's text format, to the microsecond. */
  readonly at: string;
  readonly id: string;
}

/** Reads sessions. Throws `StoreUnavailableError` when PostgreSQL does not answer. */
export interface SessionReads {
  /**
   * Lists sessions, newest first. Those that have ended are left out, also because their secret or its client has.
   * @param client null: of all clients
   */
  list(client: string | null, from: SessionPosition | null, most: number): Promise<SessionListRow[]>;
}

export function createSessionReads(reader: Reader): SessionReads {
  return {
    list: (client, from, most) =>
      reader.read('list-sessions', (db) => {
        let sessions = db
          .selectFrom('sessions as s')
          .select(['s.id', 's.client', 's.secret_id', 's.grant_name', 's.address'])
          .select(['s.created_at', 's.used_at', 's.expires_at'])
          .where((eb) => eb('s.expires_at', '>', eb.fn<string>('clock_timestamp')))
          .where((eb) => {
            const now = eb.fn<string>('clock_timestamp');
            const secret = eb
              .selectFrom('client_secrets as x')
              .innerJoin('clients as c', 'c.name', 'x.client')
              .select('x.id')
              .whereRef('x.id', '=', 's.secret_id')
              .where('c.revoked_at', 'is', null)
              .where((end) => end.or([end('x.expires_at', 'is', null), end('x.expires_at', '>', now)]))
              .where((end) => end.or([end('c.expires_at', 'is', null), end('c.expires_at', '>', now)]));
            return eb.or([eb('s.secret_id', 'is', null), eb.exists(secret)]);
          })
          .orderBy('s.created_at', 'desc')
          .orderBy('s.id', 'desc')
          .limit(most);
        if (client !== null) sessions = sessions.where('s.client', '=', client);
        if (from !== null) {
          sessions = sessions.where((eb) => eb(eb.refTuple('s.created_at', 's.id'), '<', eb.tuple(from.at, from.id)));
        }
        return sessions.execute();
      }),
  };
}
