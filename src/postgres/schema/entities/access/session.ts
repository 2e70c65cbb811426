import { defineEntity, p } from '@mikro-orm/postgresql';
import { text, timestamp } from '../columns.ts';

/** A session of a person, by the SHA-256 of its token. */
export const Session = defineEntity({
  name: 'Session',
  tableName: 'sessions',
  properties: {
    hash: p.blob().columnType('bytea').primary(),
    /** Names the session in lists and in the audit log. */
    id: p.uuid(),
    /** Name of the client, or `oidc:` and the name of the person. */
    client: text(),
    /** The secret with which the session was opened. Secrets of clients in files have no id. */
    secretId: text().nullable(),
    secretHash: p.blob().columnType('bytea').nullable(),
    /** Name of the grant by which a provider opened the session. */
    grantName: text().nullable(),
    /** Where it was opened from. */
    address: text(),
    createdAt: timestamp().defaultRaw('clock_timestamp()'),
    /** To within about a minute. */
    usedAt: timestamp().defaultRaw('clock_timestamp()'),
    expiresAt: timestamp(),
  },
  checks: [
    {
      name: 'sessions_holder',
      expression: '(secret_hash IS NULL) <> (grant_name IS NULL) AND (secret_id IS NULL OR secret_hash IS NOT NULL)',
    },
  ],
  uniques: [{ name: 'sessions_id', properties: ['id'] }],
  indexes: [
    { name: 'sessions_client', properties: ['client', 'createdAt', 'id'] },
    { name: 'sessions_created', properties: ['createdAt', 'id'] },
    { name: 'sessions_expiry', properties: ['expiresAt'] },
  ],
});
