import { defineEntity, p } from '@mikro-orm/postgresql';
import { TASK_STATUSES } from '../../../../core/task.ts';
import { bigint, jsonText, text, timestamp } from '../columns.ts';

/** The state of a task that has not ended. Only the `.sql` statements write it. */
export const UnfinishedTask = defineEntity({
  name: 'UnfinishedTask',
  tableName: 'unfinished',
  properties: {
    id: p.uuid().primary(),
    queue: text(),
    priority: p.smallint().columnType('smallint'),
    placeMs: bigint(),
    group: text().nullable(),
    /** Whether a limit of its queue or group applies. */
    limited: p.boolean().columnType('boolean').default(false),
    /** Bit mask of the events that somebody wants. */
    notify: p.integer().columnType('integer').default(0),
    keepCompleted: p.boolean().columnType('boolean').default(true),
    status: p.enum(TASK_STATUSES).nativeEnumName('task_status'),
    runAt: timestamp(),
    attempt: p.integer().columnType('integer').default(0),
    failures: p.integer().columnType('integer').default(0),
    lost: p.integer().columnType('integer').default(0),
    workerId: text().nullable(),
    /** Position among the starts of one batch. */
    ordinal: p.integer().columnType('integer').nullable(),
    startedAt: timestamp().nullable(),
    deadlineAt: timestamp().nullable(),
    requestId: p.uuid().nullable(),
    cancelRequestedAt: timestamp().nullable(),
    progress: jsonText().nullable(),
    /** The client whose quota counts the task; null if none does. */
    quotaClient: text().nullable(),
  },
  checks: [
    {
      name: 'unfinished_status_check',
      property: 'status',
      expression: `status IN ('PENDING', 'SCHEDULED', 'PROCESSING')`,
    },
    { name: 'unfinished_worker', expression: `(worker_id IS NOT NULL) = (status = 'PROCESSING')` },
  ],
  indexes: [
    { name: 'unfinished_waiting', properties: ['runAt', 'id'], where: `status IN ('PENDING', 'SCHEDULED')` },
    { name: 'unfinished_processing', properties: ['workerId'], where: `status = 'PROCESSING'` },
    { name: 'unfinished_quota', properties: ['quotaClient'], where: 'quota_client IS NOT NULL' },
  ],
});
