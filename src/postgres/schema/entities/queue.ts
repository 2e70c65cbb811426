import { defineEntity, p } from '@mikro-orm/postgresql';
import { bigint, text, timestamp } from './columns.ts';

/** A queue and its settings. Every change of the settings increments `version`. */
export const Queue = defineEntity({
  name: 'Queue',
  tableName: 'queues',
  properties: {
    name: text().primary(),
    paused: p.boolean().columnType('boolean').default(false),
    version: bigint().defaultRaw('1'),
    createdAt: timestamp().defaultRaw('clock_timestamp()'),
    /** The client whose submission created the queue, by its rate-limit name; null if unknown. */
    createdBy: text().nullable(),
    /** Time of creation, or of the latest expiry check that found tasks in the queue. */
    usedAt: timestamp().defaultRaw('clock_timestamp()'),
  },
});
