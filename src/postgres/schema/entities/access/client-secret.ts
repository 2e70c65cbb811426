import { defineEntity, p } from '@mikro-orm/postgresql';
import { text, timestamp } from '../columns.ts';

/** A secret of a client, by its SHA-256. At most two secrets of a client are valid at the same time. */
export const ClientSecret = defineEntity({
  name: 'ClientSecret',
  tableName: 'client_secrets',
  properties: {
    /** The public part of the secret. */
    id: text().primary(),
    client: text(),
    hash: p.blob().columnType('bytea'),
    createdAt: timestamp().defaultRaw('clock_timestamp()'),
    /** Set when another secret replaces this one. */
    expiresAt: timestamp().nullable(),
    /** To within about a minute. */
    lastUsedAt: timestamp().nullable(),
  },
  indexes: [{ name: 'client_secrets_client', properties: ['client'] }],
});
