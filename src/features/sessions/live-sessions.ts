import { SESSION_KEPT_MS } from '../../config/access-timings.ts';
import type { Client } from '../../core/access/client.ts';
import { systemClock, type Clock } from '../../core/clock.ts';
import { StoreUnavailableError } from '../../core/errors.ts';
import type { ClientDirectory, Identified } from '../../http/access/client-directory.ts';
import type { FoundSession, SessionLookup } from '../../http/access/session-lookup.ts';
import { PROVIDER_PREFIX } from './provider-prefix.ts';
import type { SessionStore, StoredSession } from './session-store.ts';
import { hashOfToken } from './session-token.ts';

/** The sessions in the memory of an API process. It knows of every change within five seconds. */
export interface LiveSessions extends SessionLookup {
  /**
   * Returns whether a session has this token, whatever has become of its secret. Wrong tokens that come together cost one
   * statement, as in `find`.
   */
  isOpen(token: string): Promise<boolean>;
  /** Forgets sessions that this process has just ended. */
  forget(hashes: readonly string[]): void;
}

/**
 * Returns the client of a person, by the grant that a provider's answer matched when the person logged in; null if there
 * is no such grant any more.
 */
export type ClientOfGrant = (name: string, grant: string) => Client | null;

export interface LiveSessionsOptions {
  readonly store: Pick<SessionStore, 'find'>;
  readonly directory: Pick<ClientDirectory, 'identifyHash'>;
  readonly clientOfGrant: ClientOfGrant;
  readonly clock?: Pick<Clock, 'monotonicMs'>;
}

/** A session as it was read. Times are of the monotonic clock. */
interface Entry {
  readonly stored: StoredSession;
  readonly readMs: number;
  readonly endsMs: number;
}

/** Number of sessions that are remembered, and of tokens without a session. The oldest are forgotten first. */
const KEPT_MAX = 10_000;

/** Sessions that one statement looks up, statements at the same time, and sessions that wait to be looked up. */
const LOOKED_UP_MAX = 1_000;
const STATEMENTS_MAX = 4;
const WAITING_MAX = 10_000;

/**
 * Makes the memory of sessions. A session is read again after five seconds, and tokens that come together are looked up by
 * one statement, so that neither a busy page nor a flood of wrong tokens costs a statement for each request. Whether a
 * secret is still valid, and what its client may do, is asked anew for every request, in memory.
 */
export function createLiveSessions({
  store,
  directory,
  clientOfGrant,
  clock = systemClock,
}: LiveSessionsOptions): LiveSessions {
  const known = new Map<string, Entry>();
  /** When these were found to have no session, by their hashes. */
  const unknown = new Map<string, number>();
  /** Those that wait to be looked up, and those that are being looked up. */
  const waiting = new Map<string, PromiseWithResolvers<Entry | null>>();
  const lookedUp = new Map<string, PromiseWithResolvers<Entry | null>>();
  let statements = 0;

  const remember = <Value>(map: Map<string, Value>, hash: string, value: Value): void => {
    map.delete(hash);
    map.set(hash, value);
    if (map.size > KEPT_MAX) map.delete(map.keys().next().value as string);
  };
  const forgetOne = (hash: string): void => {
    known.delete(hash);
    remember(unknown, hash, clock.monotonicMs());
  };

  /** Keeps what a statement has read, which may be older than an end that this process has made meanwhile. */
  const keep = (hash: string, stored: StoredSession | undefined, readMs: number): Entry | null => {
    if (stored === undefined || (unknown.get(hash) ?? Number.NEGATIVE_INFINITY) >= readMs) {
      forgetOne(hash);
      return null;
    }
    const entry = { stored, readMs, endsMs: readMs + stored.endsInMs };
    unknown.delete(hash);
    remember(known, hash, entry);
    return entry;
  };

  const lookUpWaiting = async (): Promise<void> => {
    statements++;
    while (waiting.size > 0) {
      const taken = [...waiting].slice(0, LOOKED_UP_MAX);
      for (const [hash, deferred] of taken) {
        waiting.delete(hash);
        lookedUp.set(hash, deferred);
      }
      // Counted from before the statement, so that nothing is kept for longer than its time.
      const readMs = clock.monotonicMs();
      try {
        const found = await store.find(taken.map(([hash]) => hash));
        const byHash = new Map(found.map((stored) => [stored.hash, stored]));
        for (const [hash, { resolve }] of taken) resolve(keep(hash, byHash.get(hash), readMs));
      } catch (error) {
        for (const [, { reject }] of taken) reject(error);
      } finally {
        for (const [hash] of taken) lookedUp.delete(hash);
      }
    }
    statements--;
  };

  const lookUp = (hash: string): Promise<Entry | null> => {
    const running = waiting.get(hash) ?? lookedUp.get(hash);
    if (running !== undefined) return running.promise;
    if (waiting.size >= WAITING_MAX) throw new StoreUnavailableError('postgresql', new Error('too many sessions wait'));
    const deferred = Promise.withResolvers<Entry | null>();
    waiting.set(hash, deferred);
    if (statements < STATEMENTS_MAX) void lookUpWaiting();
    return deferred.promise;
  };

  /** Finds out on whose behalf a session acts at the moment. */
  const judge = (entry: Entry | null): FoundSession | null | Promise<FoundSession | null> => {
    if (entry === null || entry.endsMs <= clock.monotonicMs()) return null;
    const { hash, client: name, secretId, secretHash, grantName } = entry.stored;
    if (secretHash === null) {
      return foundOf(entry, clientOfGrant(name.slice(PROVIDER_PREFIX.length), grantName ?? ''));
    }
    const asSecret = (found: Identified): FoundSession | null => {
      // A secret in files may have been given to another client.
      if (found.kind === 'known' && found.client.name === name) return foundOf(entry, found.client);
      // The directory has looked for newer secrets. The next requests need not wait for that again.
      forgetOne(hash);
      return null;
    };
    const found = directory.identifyHash(secretId, secretHash);
    return found instanceof Promise ? found.then(asSecret) : asSecret(found);
  };

  const read = (token: string): Entry | null | Promise<Entry | null> => {
    const hash = hashOfToken(token);
    const freshMs = clock.monotonicMs() - SESSION_KEPT_MS;
    const entry = known.get(hash);
    if (entry !== undefined && entry.readMs > freshMs) return entry;
    if ((unknown.get(hash) ?? Number.NEGATIVE_INFINITY) > freshMs) return null;
    return lookUp(hash);
  };

  return {
    find(token) {
      const entry = read(token);
      return entry instanceof Promise ? entry.then(judge) : judge(entry);
    },
    isOpen: async (token) => (await read(token)) !== null,
    forget: (hashes) => hashes.forEach(forgetOne),
  };
}

function foundOf({ stored }: Entry, client: Client | null): FoundSession | null {
  if (client === null) return null;
  const { id, expiresAtMs, secretHash } = stored;
  return { session: { id, openedBy: secretHash === null ? 'provider' : 'secret', expiresAtMs }, client };
}
