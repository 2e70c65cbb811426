import { defineEntity, p } from '@mikro-orm/postgresql';
import { ATTEMPT_OUTCOMES } from '../../../core/task.ts';
import { jsonText, text, timestamp } from './columns.ts';

/** One attempt of a task, partitioned by task_id. `ordinal` is its position among the starts of one batch. */
export const ExecutionLog = defineEntity({
  name: 'ExecutionLog',
  tableName: 'execution_logs',
  properties: {
    taskId: p.uuid().primary(),
    attempt: p.integer().columnType('integer').primary(),
    workerId: text(),
    startedAt: timestamp(),
    ordinal: p.integer().columnType('integer'),
    finishedAt: timestamp().nullable(),
    outcome: p.enum(ATTEMPT_OUTCOMES).nativeEnumName('attempt_outcome').nullable(),
    error: jsonText().nullable(),
    result: jsonText().nullable(),
  },
  checks: [{ name: 'execution_logs_finished', expression: '(finished_at IS NOT NULL) = (outcome IS NOT NULL)' }],
});
