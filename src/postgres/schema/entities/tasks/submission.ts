import { defineEntity, p } from '@mikro-orm/postgresql';
import { bigint, jsonText, text, timestamp } from '../columns.ts';

/** What was asked. A row is never updated. The table is partitioned by id, which the schema generator ignores. */
export const Submission = defineEntity({
  name: 'Submission',
  tableName: 'submissions',
  properties: {
    id: p.uuid().primary(),
    client: text().nullable(),
    queue: text(),
    action: text().nullable(),
    payload: jsonText(),
    priority: p.smallint().columnType('smallint'),
    group: text().collation('C').nullable(),
    /** The time that the request named. */
    runAt: timestamp().nullable(),
    executionTime: p.double().columnType('double precision').nullable(),
    maxRetries: p.integer().columnType('integer'),
    backoff: jsonText().nullable(),
    timeoutMs: bigint(),
    metadata: jsonText().nullable(),
    idempotencyKey: text().collation('C').nullable(),
    traceId: text(),
    traceparent: text().nullable(),
    /** False if nothing is kept of the task once it is COMPLETED, except this row. */
    keepCompleted: p.boolean().columnType('boolean').default(true),
  },
  indexes: [
    { name: 'submissions_not_kept', properties: ['id'], where: 'NOT keep_completed' },
    { name: 'submissions_group', properties: ['group', 'id'], where: '"group" IS NOT NULL' },
    { name: 'submissions_key', properties: ['idempotencyKey', 'id'], where: 'idempotency_key IS NOT NULL' },
  ],
  checks: [{ name: 'submissions_priority_check', property: 'priority', expression: 'priority >= 1 AND priority <= 3' }],
});
