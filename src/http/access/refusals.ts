import { objectName, type AuditAction, type ObjectKind } from '../../core/access/audit.ts';
import { QUEUE_NAME } from '../../core/task.ts';
import type { Middleware } from '../middleware/request-scope.ts';
import { Problem, type ProblemCode } from '../problem.ts';

/** A request for an action that its client may not do. */
export interface Refusal {
  readonly client: string;
  readonly action: AuditAction;
  readonly code: ProblemCode;
  /** What it would have acted on; null if the path does not say so. */
  readonly object: string | null;
  readonly address: string;
  readonly traceId: string;
}

/** Takes refusals for the audit log. Never throws, and never makes a request wait. */
export interface RefusalLog {
  note(refusal: Refusal): void;
}

/** Notes each request for an action that is answered by 403. Reads have no action, so only the access log has them. */
export function noteRefusals(refusals: RefusalLog): Middleware {
  return async (ctx, next) => {
    try {
      await next();
    } catch (error) {
      const { route, info } = ctx.state;
      const action = route?.audit;
      if (error instanceof Problem && error.status === 403 && action !== undefined) {
        const { client, clientAddress: address, trace } = info;
        const object = objectOf(action, (ctx as { params?: Readonly<Record<string, string>> }).params ?? {});
        if (object !== null) info.annotate({ [FIELDS[object.kind]]: object.name });
        refusals.note({
          client: client.name,
          action,
          code: error.code,
          object: object && objectName(object.kind, object.name),
          address,
          traceId: trace.traceId,
        });
      }
      throw error;
    }
  };
}

type Acted = Extract<ObjectKind, 'task' | 'queue' | 'client' | 'session'>;

/** Fields of the log line, as handlers name them. */
const FIELDS: Readonly<Record<Acted, string>> = {
  task: 'task_id',
  queue: 'queue',
  client: 'object_client',
  session: 'object_session',
};

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** The parameters of a refused request are not validated. A name of another form is not one of ours. */
function objectOf(
  action: AuditAction,
  { id, name }: Readonly<Record<string, string>>,
): { readonly kind: Acted; readonly name: string } | null {
  const [named] = action.split('.');
  // A payload belongs to a task.
  const kind = named === 'payload' ? 'task' : named;
  // The path of a client's secret has both.
  const given = (kind === 'task' || kind === 'session' ? id : name) ?? '';
  if (kind !== 'task' && kind !== 'queue' && kind !== 'client' && kind !== 'session') return null;
  // A token that somebody puts here by mistake must not get into a log.
  return (kind === 'session' ? UUID : QUEUE_NAME).test(given) ? { kind, name: given } : null;
}
