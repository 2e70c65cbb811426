import type { Client } from '../../core/access/client.ts';
import type { RequestSession } from '../route.ts';

/** A session that has not ended, and on whose behalf its requests act at the moment. */
export interface FoundSession {
  readonly session: RequestSession;
  readonly client: Client;
}

/** The sessions of all people, as far as requests need them. */
export interface SessionLookup {
  /**
   * Finds the session of a token; null if there is none, or if it has ended. A session that is in use is found without
   * waiting.
   * @throws StoreUnavailableError if it cannot be known at the moment
   */
  find(token: string): FoundSession | null | Promise<FoundSession | null>;
}
