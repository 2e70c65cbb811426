import type { Actor, AuditAction } from '../../core/access/audit.ts';
import type { Run } from '../database.ts';
import { loadSql } from '../sql.ts';

/** An action that was allowed and done. */
export interface AuditEntry {
  readonly action: AuditAction;
  /** What was acted on, by `objectName`. A few; of many, give their number and what selected them. */
  readonly objects: readonly string[];
  /** What was changed to what, or what selected the things that were acted on. Never a secret. */
  readonly details?: object;
  /** Number of things that were changed. Default: 1. */
  readonly count?: number;
}

const WRITE_AUDIT = loadSql(import.meta.dirname, 'write-audit');

/**
 * Writes the row of an action. An action that is one statement writes its row itself, with `actorValues`.
 * @param run of the transaction of the action, so that neither is stored without the other
 */
export async function writeAudit(run: Run, by: Actor, entry: AuditEntry): Promise<void> {
  const { action, objects, details, count = 1 } = entry;
  const detailsText = details === undefined ? null : JSON.stringify(details);
  await run(WRITE_AUDIT, [...actorValues(by), action, objects, detailsText, count]);
}

/** Returns who acts as the arguments of a statement: id uuid, client text, address text, trace_id text. */
export function actorValues({ auditId, client, address, traceId }: Actor): (string | null)[] {
  return [auditId, client, address, traceId];
}
