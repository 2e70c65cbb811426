import type { Client } from '../../core/access/client.ts';

/** A client whose secret was right. */
export interface KnownClient {
  readonly kind: 'known';
  readonly client: Client;
  /** The public id of the secret; null for a client in files. */
  readonly secretId: string | null;
}

/** Whom a secret belongs to. */
export type Identified =
  | KnownClient
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
  /**
   * Finds the client of a secret of which only the hash is known, in the same way.
   * @param id the public id of the secret; null for a client in files
   * @param hash SHA-256 of the secret, in hexadecimal digits
   */
  identifyHash(id: string | null, hash: string): Identified | Promise<Identified>;
  /** Returns whether there is no client at all, so that somebody has to make the first one. */
  isEmpty(): boolean;
}
