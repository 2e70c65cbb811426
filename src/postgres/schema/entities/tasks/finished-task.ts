import { defineEntity, p } from '@mikro-orm/postgresql';
import { ATTEMPT_OUTCOMES, TASK_STATUSES } from '../../../../core/task.ts';
import { bigint, jsonText, text, timestamp } from '../columns.ts';

/** How a task ended, with its last attempt. The worker and the outcome are null if no attempt ended it. */
export const FinishedTask = defineEntity({
  name: 'FinishedTask',
  tableName: 'finished',
  properties: {
    id: p.uuid().primary(),
    status: p.enum(TASK_STATUSES).nativeEnumName('task_status'),
    placeMs: bigint(),
    limited: p.boolean().columnType('boolean').default(false),
    notify: p.integer().columnType('integer').default(0),
    runAt: timestamp(),
    attempt: p.integer().columnType('integer'),
    failures: p.integer().columnType('integer'),
    lost: p.integer().columnType('integer'),
    cancelRequestedAt: timestamp().nullable(),
    finishedAt: timestamp(),
    workerId: text().nullable(),
    ordinal: p.integer().columnType('integer').nullable(),
    startedAt: timestamp().nullable(),
    outcome: p.enum(ATTEMPT_OUTCOMES).nativeEnumName('attempt_outcome').nullable(),
    error: jsonText().nullable(),
    result: jsonText().nullable(),
    progress: jsonText().nullable(),
  },
  checks: [
    {
      name: 'finished_status_check',
      property: 'status',
      expression: `status IN ('COMPLETED', 'FAILED', 'CANCELLED')`,
    },
    {
      name: 'finished_attempt',
      expression:
        'num_nulls(worker_id, outcome) IN (0, 2) AND (worker_id IS NULL OR num_nulls(ordinal, started_at) = 0)',
    },
  ],
});
