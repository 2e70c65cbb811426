import { ANYBODY, type Client } from '../../core/access/client.ts';
import type { HidingFilter, Projection } from '../../core/access/projection.ts';
import type { Scope } from '../../core/access/scopes.ts';
import type { ArrivingRequest } from '../middleware/request-scope.ts';
import { Problem } from '../problem.ts';
import type { Route } from '../route.ts';

/** Finds out on whose behalf a request acts. */
export interface Authentication {
  /**
   * Returns the client. If a session says who sends the request, the session is put into the request.
   * @throws Problem `unauthenticated`, `secret_expired`, `session_ended` or `too_many_wrong_keys`
   */
  clientOf(info: ArrivingRequest): Client | Promise<Client>;
}

/** Every request acts on behalf of anybody, who may do everything. */
export const openAuthentication: Authentication = { clientOf: () => ANYBODY };

/**
 * Puts the client into the request, if it may use the route. Public routes do not ask who sends the request.
 * @throws Problem `missing_scope`, or one of `clientOf`
 */
export async function authorize(
  { scope }: Pick<Route, 'scope'>,
  info: ArrivingRequest,
  authentication: Authentication,
): Promise<void> {
  if (scope === 'public') return;
  const client = await authentication.clientOf(info);
  info.client = client;
  if (scope !== 'any') requireScope(client, scope);
}

/**
 * @param what the part of the request that needs the scope. Default: the route
 * @throws Problem `missing_scope`
 */
export function requireScope(client: Client, scope: Scope, what?: string): void {
  if (client.scopes.has(scope)) return;
  const reason = what === undefined ? '' : `, which ${what} needs`;
  throw new Problem('missing_scope', `the client lacks the scope \`${scope}\`${reason}`, {
    headers: { 'WWW-Authenticate': `Bearer realm="scheduler", error="insufficient_scope", scope="${scope}"` },
  });
}

/**
 * Refuses a filter by something that the client does not see, because what it finds would tell what is hidden. Nothing is
 * looked up.
 * @throws Problem `missing_scope`
 */
export function refuseHiddenFilter(client: Client, seen: Pick<Projection, 'hiddenPartOf'>, filter: HidingFilter): void {
  const part = seen.hiddenPartOf(filter);
  if (part !== null) requireScope(client, 'payload', `\`${part}\``);
}

/**
 * Refuses a queue that the request names. It does not matter whether the queue exists, and nothing is looked up, so the
 * answer tells only what the client knows: its own patterns, and the name that it sent.
 * @throws Problem `queue_not_allowed`
 */
export function requireQueue({ queues }: Client, queue: string): void {
  if (queues.matches(queue)) return;
  throw new Problem('queue_not_allowed', `the client may not use the queue ${JSON.stringify(queue)}`);
}
