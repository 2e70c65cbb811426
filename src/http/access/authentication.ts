import { ANYBODY, type Client } from '../../core/access/client.ts';
import type { ArrivingRequest } from '../middleware/request-scope.ts';
import { Problem } from '../problem.ts';
import type { RequestInfo, Route } from '../route.ts';

/** Finds out on whose behalf a request acts. */
export interface Authentication {
  /** @throws Problem `unauthenticated` */
  clientOf(info: RequestInfo): Client | Promise<Client>;
}

/** Every request acts on behalf of anybody, who may do everything. */
export const openAuthentication: Authentication = { clientOf: () => ANYBODY };

/**
 * Puts the client into the request, if it may use the route. Public routes do not ask who sends the request.
 * @throws Problem `unauthenticated` or `missing_scope`
 */
export async function authorize(
  { scope }: Pick<Route, 'scope'>,
  info: ArrivingRequest,
  authentication: Authentication,
): Promise<void> {
  if (scope === 'public') return;
  const client = await authentication.clientOf(info);
  info.client = client;
  if (client.scopes.has(scope)) return;
  throw new Problem('missing_scope', `the client lacks the scope \`${scope}\``);
}
