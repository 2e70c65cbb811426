import { requestActor, type Actor } from '../../core/access/audit.ts';
import type { RequestInfo } from '../route.ts';

/** Makes the actor of a request, for its row in the audit log. A request needs only one. */
export function actorOf({
  client,
  clientAddress,
  trace,
}: Pick<RequestInfo, 'client' | 'clientAddress' | 'trace'>): Actor {
  return requestActor(client.name, clientAddress, trace.traceId);
}
