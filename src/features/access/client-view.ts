import { z } from 'zod';
import { rightsShape, rightsView } from '../../http/access/client-rights.ts';
import { time } from '../../http/task-parts.ts';
import type { ClientRecord } from './client-store.ts';
import type { FileClient } from './directory/client-files.ts';

export const clientSchema = z
  .object({
    ...rightsShape,
    note: z.string(),
    source: z.enum(['postgresql', 'files']).meta({
      description: 'where the client is kept; `files`: in `CLIENTS_DIR`, so it cannot be changed here',
    }),
    created_at: time().nullable(),
    expires_at: time().nullable().meta({ description: 'when the client ends; null: never' }),
    revoked_at: time().nullable().meta({ description: 'when it was revoked; its name is not used again' }),
    last_used_at: time().nullable().meta({ description: 'to within about two minutes; null: never, or not known' }),
    secrets: z.array(
      z.object({
        id: z.string().meta({ description: 'public id, with which the secret begins' }),
        created_at: time(),
        expires_at: time().nullable().meta({ description: 'when it ends because another one has replaced it' }),
        last_used_at: time().nullable(),
      }),
    ),
  })
  .meta({ id: 'Client' });

export type ClientView = z.input<typeof clientSchema>;

export function clientView(record: ClientRecord): ClientView {
  const uses = record.secrets.flatMap(({ lastUsedAt }) => lastUsedAt ?? []);
  return {
    ...rightsView(record),
    note: record.note,
    source: 'postgresql',
    created_at: record.createdAt,
    expires_at: record.expiresAt,
    revoked_at: record.revokedAt,
    last_used_at: uses.toSorted().at(-1) ?? null,
    secrets: record.secrets.map(({ id, createdAt, expiresAt, lastUsedAt }) => ({
      id,
      created_at: createdAt,
      expires_at: expiresAt,
      last_used_at: lastUsedAt,
    })),
  };
}

/** Shows a client of `CLIENTS_DIR`. Its secrets have no public ids. */
export function fileClientView({ client: { name }, terms }: FileClient): ClientView {
  return {
    ...rightsView({ name, ...terms }),
    note: terms.note,
    source: 'files',
    created_at: null,
    expires_at: null,
    revoked_at: null,
    last_used_at: null,
    secrets: [],
  };
}
