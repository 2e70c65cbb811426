import { defineEntity, p } from '@mikro-orm/postgresql';
import { bigint, text, timestamp } from './columns.ts';

/** One queue and its settings; `version` grows with every change of them. */
export const Queue = defineEntity({
  name: 'Queue',
  tableName: 'queues',
  properties: {
    name: text().primary(),
    paused: p.boolean().columnType('boolean').default(false),
    version: bigint().defaultRaw('1'),
    createdAt: timestamp().defaultRaw('clock_timestamp()'),
    /** The client whose submission brought it into being, as the rate limit names it; null if nobody is known. */
    createdBy: text().nullable(),
    /** When it was made, or last looked at for its expiry and found to have tasks. */
    usedAt: timestamp().defaultRaw('clock_timestamp()'),
  },
});
