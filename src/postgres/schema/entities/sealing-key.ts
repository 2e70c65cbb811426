import { defineEntity, p } from '@mikro-orm/postgresql';
import { text, timestamp } from './columns.ts';

/** A secret that all processes share. The migration makes it at random; it never leaves the database and the processes. */
export const SealingKey = defineEntity({
  name: 'SealingKey',
  tableName: 'sealing_keys',
  properties: {
    /** What the key seals. */
    name: text().primary(),
    key: p.blob().columnType('bytea'),
    createdAt: timestamp().defaultRaw('clock_timestamp()'),
  },
});
