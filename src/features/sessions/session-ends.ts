import { objectName, type Actor } from '../../core/access/audit.ts';
import { writeAudit } from '../../postgres/audit/write-audit.ts';
import type { Database, Run } from '../../postgres/database.ts';
import type { LiveSessions } from './live-sessions.ts';
import { createSessionStore, type EndedSession } from './session-store.ts';
import { hashOfToken } from './session-token.ts';

/**
 * Ends sessions, each call in one transaction with its row in the audit log. What ends nothing leaves no row. This process
 * follows at once, the others within five seconds. Throws the errors of `Database`.
 */
export interface SessionEnds {
  /**
   * Ends the session of a token. Returns it; null if there is none.
   * @param byHolder makes the actor from the name of the client to which the session belongs
   */
  own(token: string, byHolder: (client: string) => Actor): Promise<EndedSession | null>;
  /** Returns false if there is no such session. */
  one(by: Actor, id: string): Promise<boolean>;
  /** Returns how many sessions of the client were ended. */
  allOf(by: Actor, client: string): Promise<number>;
}

export interface SessionEndsOptions {
  readonly database: Pick<Database, 'transaction'>;
  readonly live: Pick<LiveSessions, 'forget' | 'isOpen'>;
}

export function createSessionEnds({ database, live }: SessionEndsOptions): SessionEnds {
  const endOne = async (
    find: (run: Run) => Promise<EndedSession | null>,
    byHolder: (client: string) => Actor,
  ): Promise<EndedSession | null> => {
    const ended = await database.transaction(async (run) => {
      const found = await find(run);
      if (found === null) return null;
      const objects = [objectName('session', found.id), objectName('client', found.client)];
      await writeAudit(run, byHolder(found.client), { action: 'session.end', objects });
      return found;
    });
    if (ended !== null) live.forget([ended.hash]);
    return ended;
  };

  return {
    async own(token, byHolder) {
      // Anybody may send a token. Only one that somebody has may cost a transaction.
      if (!(await live.isOpen(token))) return null;
      const hash = hashOfToken(token);
      return endOne((run) => createSessionStore(run).end(hash), byHolder);
    },
    async one(by, id) {
      const ended = await endOne(
        (run) => createSessionStore(run).endById(id),
        () => by,
      );
      return ended !== null;
    },
    async allOf(by, client) {
      const ended = await database.transaction(async (run) => {
        const found = await createSessionStore(run).endAllOf(client);
        const entry = { action: 'session.end', objects: [objectName('client', client)], count: found.length } as const;
        if (found.length > 0) await writeAudit(run, by, entry);
        return found;
      });
      live.forget(ended.map(({ hash }) => hash));
      return ended.length;
    },
  };
}
