import type { Config } from '../../config/env.ts';
import type { ClientDirectory } from '../../http/access/client-directory.ts';
import type { RefusalLog } from '../../http/access/refusals.ts';
import type { SecretCheck } from '../../http/access/secret-check.ts';
import { createSeal } from '../../http/seal.ts';
import type { Database } from '../../postgres/database.ts';
import { readSealingKey } from '../../postgres/sealing-keys.ts';
import type { Feature, FeatureParts } from '../feature.ts';
import { createLiveSessions, type ClientOfGrant, type LiveSessions } from './live-sessions.ts';
import type { LoginOptions } from './login-options.ts';
import { createOpenSession, type OpenSession } from './open-session.ts';
import { createIdentityProvider, type IdentityProvider } from './provider/identity-provider.ts';
import { sessionRoutes } from './routes.ts';
import { createSessionEnds } from './session-ends.ts';
import { createSessionReads } from './session-reads.ts';
import { createSessionStore } from './session-store.ts';

export { createIdentityProvider };

/** What an API process does with sessions outside of their routes. */
export interface Sessions {
  readonly open: OpenSession;
  readonly live: LiveSessions;
}

export interface SessionsOptions {
  readonly database: Pick<Database, 'run' | 'transaction'>;
  readonly config: Pick<Config, 'SESSION_TTL'>;
  readonly directory: Pick<ClientDirectory, 'identifyHash'>;
  readonly clientOfGrant: ClientOfGrant;
}

export function createSessions({ database, config, directory, clientOfGrant }: SessionsOptions): Sessions {
  const live = createLiveSessions({ store: createSessionStore(database.run), directory, clientOfGrant });
  return { live, open: createOpenSession({ database, config, live }) };
}

export interface SessionsAccess {
  readonly sessions: Sessions;
  readonly checkSecret: SecretCheck | null;
  readonly login: LoginOptions;
  /** Null: there is none, so there are no pages for a login. */
  readonly provider: IdentityProvider | null;
  readonly refusals: RefusalLog;
}

/** Lets people log in and out, and admins see and end their sessions. A duty deletes those whose time is over (`duty.ts`). */
export function sessions(
  { cursors, database, reader }: Pick<FeatureParts, 'cursors' | 'database' | 'reader'>,
  { sessions: { open, live }, checkSecret, login, provider, refusals }: SessionsAccess,
): Feature {
  const ends = createSessionEnds({ database, live });
  const routes = sessionRoutes({ open, ends, reads: createSessionReads(reader), cursors, checkSecret, login });
  const logins = provider?.routes(
    createSeal(() => readSealingKey(database, 'logins')),
    open,
    refusals,
  );
  return { routes: [...routes, ...(logins ?? [])] };
}
