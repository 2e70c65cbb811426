import { defineEntity, p } from '@mikro-orm/postgresql';
import { text, timestamp } from './columns.ts';

/** A random secret that the migration creates and all processes share. It never leaves the database and the processes. */
export const SealingKey = defineEntity({
  name: 'SealingKey',
  tableName: 'sealing_keys',
  properties: {
    /** The purpose of the key. */
    name: text().primary(),
    key: p.blob().columnType('bytea'),
    createdAt: timestamp().defaultRaw('clock_timestamp()'),
  },
});
