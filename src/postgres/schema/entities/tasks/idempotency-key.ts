import { defineEntity, p } from '@mikro-orm/postgresql';
import { jsonText, text, timestamp } from '../columns.ts';

/** The first request that used a key, and the answer for its replays. */
export const IdempotencyKey = defineEntity({
  name: 'IdempotencyKey',
  tableName: 'idempotency_keys',
  properties: {
    /** Empty for requests without a client. */
    client: text().collation('C').primary(),
    queue: text().collation('C').primary(),
    key: text().collation('C').primary(),
    requestHash: p.blob().columnType('bytea'),
    taskId: p.uuid(),
    answer: jsonText(),
    expiresAt: timestamp(),
  },
  indexes: [{ name: 'idempotency_keys_expiry', properties: ['expiresAt'] }],
});
