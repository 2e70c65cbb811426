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
  },
});
