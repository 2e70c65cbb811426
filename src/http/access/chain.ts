import type { RequestInfo } from '../route.ts';
import type { Authentication } from './authentication.ts';

/** One way in which a request can say who sends it. */
export interface AuthenticationLink extends Authentication {
  /** Returns whether the request says it in this way. Then no other way counts. */
  takes(info: RequestInfo): boolean;
}

/**
 * Asks the first link that takes a request.
 * @param last judges all other requests
 */
export function createAuthenticationChain(links: readonly AuthenticationLink[], last: Authentication): Authentication {
  return { clientOf: (info) => (links.find((link) => link.takes(info)) ?? last).clientOf(info) };
}
