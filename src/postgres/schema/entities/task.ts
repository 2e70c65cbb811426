import { defineEntity, p } from '@mikro-orm/postgresql';
import { TASK_STATUSES } from '../../../core/task.ts';
import { bigint, jsonText, text, timestamp } from './columns.ts';

/** A task. Only the `.sql` statements write it. The table is partitioned by id, which the schema generator ignores. */
export const Task = defineEntity({
  name: 'Task',
  tableName: 'tasks',
  properties: {
    id: p.uuid().primary(),
    queue: text(),
    action: text().nullable(),
    payload: jsonText(),
    priority: p.smallint().columnType('smallint'),
    status: p.enum(TASK_STATUSES).nativeEnumName('task_status'),
    placeMs: bigint(),
    runAt: timestamp(),
    executionTime: p.double().columnType('double precision').nullable(),
    attempt: p.integer().columnType('integer').default(0),
    failures: p.integer().columnType('integer').default(0),
    lost: p.integer().columnType('integer').default(0),
    maxRetries: p.integer().columnType('integer'),
    backoff: jsonText().nullable(),
    timeoutMs: bigint(),
    metadata: jsonText().nullable(),
    idempotencyKey: text().nullable(),
    traceId: text(),
    traceparent: text().nullable(),
    workerId: text().nullable(),
    startedAt: timestamp().nullable(),
    cancelRequestedAt: timestamp().nullable(),
    progress: jsonText().nullable(),
    finishedAt: timestamp().nullable(),
  },
  checks: [
    { name: 'tasks_priority_check', property: 'priority', expression: 'priority >= 1 AND priority <= 3' },
    {
      name: 'tasks_finished',
      expression: `(finished_at IS NOT NULL) = (status IN ('COMPLETED', 'FAILED', 'CANCELLED'))`,
    },
    { name: 'tasks_worker', expression: `(worker_id IS NOT NULL) = (status = 'PROCESSING')` },
  ],
  indexes: [
    { name: 'tasks_waiting', properties: ['runAt', 'id'], where: `status IN ('PENDING', 'SCHEDULED')` },
    { name: 'tasks_processing', properties: ['workerId'], where: `status = 'PROCESSING'` },
  ],
});
