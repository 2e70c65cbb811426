import { randomUUID } from 'node:crypto';

/** What the audit log calls an action: the kind of thing that was acted on, and the verb. */
export const AUDIT_ACTIONS = [
  // Only refused ones: a submission that is accepted is a task, and the task itself says who submitted it.
  'task.submit',
  'task.cancel',
  'task.requeue',
  'payload.reveal',
  'dlq.requeue',
  'queue.pause',
  'queue.resume',
  'queue.change',
  'queue.delete',
  'client.create',
  'client.change',
  'client.rotate',
  'client.revoke',
  'session.open',
  'session.end',
] as const;
export type AuditAction = (typeof AUDIT_ACTIONS)[number];

export const AUDIT_OUTCOMES = ['allowed', 'refused'] as const;
export type AuditOutcome = (typeof AUDIT_OUTCOMES)[number];

/** The kinds of things that rows of the audit log name. */
export type ObjectKind = 'task' | 'queue' | 'client' | 'secret' | 'session';

/** Names a thing as the audit log does: `task:<id>`, `queue:<name>`. */
export function objectName(kind: ObjectKind, name: string): string {
  return `${kind}:${name}`;
}

/** Who acts: a client in one request, or a person with one command. */
export interface Actor {
  /**
   * Id of the row that the action leaves in the audit log. There is one id for a request or command, so that a
   * repeated statement leaves no second row.
   */
  readonly auditId: string;
  /** Empty for anybody, while nobody has to say who they are. */
  readonly client: string;
  /** The address of the request, or the host of the command. */
  readonly address: string;
  /** Null for a command. */
  readonly traceId: string | null;
}

/** Makes the actor of a request. */
export function requestActor(client: string, address: string, traceId: string): Actor {
  return { auditId: randomUUID(), client, address, traceId };
}

/** Makes the actor of a command. No client can have its name, because names of clients have no colon. */
export function commandActor(user: string, host: string): Actor {
  return { auditId: randomUUID(), client: `cli:${user}`, address: host, traceId: null };
}
