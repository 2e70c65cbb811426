import type { Client } from '../../core/access/client.ts';

/** Whom a secret belongs to. */
export type Identified =
  | { readonly kind: 'known'; readonly client: Client }
  /** The secret is right, but it, or its client, has ended. */
  | { readonly kind: 'expired'; readonly of: 'secret' | 'client' }
  | { readonly kind: 'unknown' };

/** All clients and their secrets, as far as requests need them. */
export interface ClientDirectory {
  /**
   * Finds the client of a secret. A valid secret is found without waiting.
   * @throws StoreUnavailableError if it cannot be known at the moment
   */
  identify(secret: string): Identified | Promise<Identified>;
  /** Returns whether there is no client at all, so that somebody has to make the first one. */
  isEmpty(): boolean;
}
