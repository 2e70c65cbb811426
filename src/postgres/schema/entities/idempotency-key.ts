import { defineEntity, p } from '@mikro-orm/postgresql';
import { jsonText, text, timestamp } from './columns.ts';

/** The first request that used a key, and the answer for its replays. */
export const IdempotencyKey = defineEntity({
  name: 'IdempotencyKey',
  tableName: 'idempotency_keys',
  properties: {
    scope: text().primary(),
    key: text().primary(),
    requestHash: p.blob().columnType('bytea'),
    taskId: p.uuid(),
    answer: jsonText(),
    expiresAt: timestamp(),
  },
  indexes: [{ name: 'idempotency_keys_expiry', properties: ['expiresAt'] }],
});
