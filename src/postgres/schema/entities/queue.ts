import { defineEntity, p } from '@mikro-orm/postgresql';
import { bigint, text, timestamp } from './columns.ts';

/** A queue and its settings. Every change of the settings increments `version`. */
export const Queue = defineEntity({
  name: 'Queue',
  tableName: 'queues',
  properties: {
    name: text().primary(),
    paused: p.boolean().columnType('boolean').default(false),
    /** False if nothing is kept of a task that completes, except its submission. */
    keepCompleted: p.boolean().columnType('boolean').default(true),
    version: bigint().defaultRaw('1'),
    createdAt: timestamp().defaultRaw('clock_timestamp()'),
    /** The client whose submission created the queue, by its rate-limit name; null if unknown. */
    createdBy: text().nullable(),
    /** Time of creation, or of the latest expiry check that found tasks in the queue. */
    usedAt: timestamp().defaultRaw('clock_timestamp()'),
  },
  indexes: [{ name: 'queues_not_kept', properties: ['name'], where: 'NOT keep_completed' }],
});
