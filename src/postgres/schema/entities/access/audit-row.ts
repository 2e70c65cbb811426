import { defineEntity, p } from '@mikro-orm/postgresql';
import type { AuditOutcome } from '../../../../core/access/audit.ts';
import { bigint, jsonText, text, timestamp } from '../columns.ts';

/** An action that was done, or equal refusals within one minute. */
export const AuditRow = defineEntity({
  name: 'AuditRow',
  tableName: 'audit',
  properties: {
    id: p.uuid().primary(),
    at: timestamp().defaultRaw('clock_timestamp()'),
    /** Empty for anybody, while nobody has to say who they are. */
    client: text(),
    action: text(),
    outcome: text().$type<AuditOutcome>(),
    /** Why it was refused: the code of the problem. */
    code: text().nullable(),
    objects: p.array().columnType('text[]').default([]),
    /** What a change set, or what a bulk action selected by. */
    details: jsonText().nullable(),
    /** Number of things that were changed, or of refusals. */
    count: bigint().defaultRaw('1'),
    address: text(),
    traceId: text().nullable(),
  },
  checks: [
    { name: 'audit_outcome_check', property: 'outcome', expression: `outcome IN ('allowed', 'refused')` },
    { name: 'audit_code', expression: `(code IS NOT NULL) = (outcome = 'refused')` },
  ],
  indexes: [{ name: 'audit_at', properties: ['at', 'id'] }],
});
