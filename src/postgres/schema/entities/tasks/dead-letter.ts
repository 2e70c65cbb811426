import { defineEntity, p } from '@mikro-orm/postgresql';
import { jsonText, text, timestamp } from '../columns.ts';

export const DEAD_LETTER_REASONS = ['retries_exhausted', 'final_error', 'lost_cap'] as const;
export type DeadLetterReason = (typeof DEAD_LETTER_REASONS)[number];

/** The final failure of a task, identified by the task and its last attempt. It is open until the task is requeued. */
export const DeadLetter = defineEntity({
  name: 'DeadLetter',
  tableName: 'dlq',
  properties: {
    taskId: p.uuid().primary(),
    attempt: p.integer().columnType('integer').primary(),
    queue: text(),
    action: text().nullable(),
    priority: p.smallint().columnType('smallint'),
    reason: text().$type<DeadLetterReason>(),
    errors: jsonText(),
    failedAt: timestamp(),
    requeuedAt: timestamp().nullable(),
  },
  checks: [
    {
      name: 'dlq_reason_check',
      property: 'reason',
      expression: `reason IN ('retries_exhausted', 'final_error', 'lost_cap')`,
    },
  ],
  indexes: [
    { name: 'dlq_open', properties: ['failedAt', 'taskId'], where: 'requeued_at IS NULL' },
    { name: 'dlq_failed', properties: ['failedAt', 'taskId'] },
  ],
});
