import { defineEntity, p } from '@mikro-orm/postgresql';
import { ATTEMPT_OUTCOMES } from '../../../../core/task.ts';
import { jsonText, text, timestamp } from '../columns.ts';

/** An attempt that ended, but not its task. The table is partitioned by task_id. */
export const EndedAttempt = defineEntity({
  name: 'EndedAttempt',
  tableName: 'attempts',
  properties: {
    taskId: p.uuid().primary(),
    attempt: p.integer().columnType('integer').primary(),
    workerId: text(),
    /** Position among the starts of one batch. */
    ordinal: p.integer().columnType('integer'),
    startedAt: timestamp(),
    finishedAt: timestamp(),
    outcome: p.enum(ATTEMPT_OUTCOMES).nativeEnumName('attempt_outcome'),
    error: jsonText().nullable(),
    result: jsonText().nullable(),
  },
});
