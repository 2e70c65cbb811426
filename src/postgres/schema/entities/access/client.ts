import { defineEntity, p } from '@mikro-orm/postgresql';
import { bigint, text, timestamp } from '../columns.ts';

const texts = () => p.array().columnType('text[]');
const limit = () => p.integer().columnType('integer').nullable();

/** A named user of the API, with what it may do. The row stays when the client is revoked. */
export const StoredClient = defineEntity({
  name: 'StoredClient',
  tableName: 'clients',
  properties: {
    name: text().primary(),
    scopes: texts(),
    queues: texts(),
    actions: texts(),
    ratePerMinute: limit(),
    burst: limit(),
    unfinishedMax: limit(),
    delayMaxMs: bigint().nullable(),
    timeoutMaxMs: bigint().nullable(),
    note: text().default(''),
    createdAt: timestamp().defaultRaw('clock_timestamp()'),
    expiresAt: timestamp().nullable(),
    revokedAt: timestamp().nullable(),
  },
});
