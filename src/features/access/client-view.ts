import { z } from 'zod';
import type { ClientLimits } from '../../core/access/client.ts';
import { PATTERN_RULE } from '../../core/access/name-patterns.ts';
import { SCOPE_MEANINGS, SCOPES } from '../../core/access/scopes.ts';
import { time } from '../../http/task-parts.ts';
import type { ClientRecord } from './client-store.ts';
import type { FileClient } from './directory/client-files.ts';
import { LIMIT_MS_MAX, RATE_MAX, ROLE_NAMES, roleOf, UNFINISHED_MAX } from './terms.ts';

const scopesText = SCOPES.map((scope) => `\`${scope}\`: ${SCOPE_MEANINGS[scope]}`).join('; ');

export const scopeSchema = z.enum(SCOPES);
export const roleSchema = z.enum(ROLE_NAMES);

const seconds = () =>
  z
    .number()
    .min(0)
    .max(LIMIT_MS_MAX / 1_000)
    .nullable();
const whole = (max: number) => z.int().min(1).max(max).nullable();

/** The limits of a client. Null: no limit of its own. */
export const limitsSchema = z
  .object({
    rate_per_minute: whole(RATE_MAX).meta({ description: 'tasks per minute; null: the limit per address applies' }),
    burst: whole(RATE_MAX).meta({ description: 'tokens in a full bucket; null: as many as `rate_per_minute`' }),
    unfinished_max: whole(UNFINISHED_MAX).meta({ description: 'most unfinished tasks of the client' }),
    delay_max: seconds().meta({ description: 'longest delay of a task in seconds' }),
    timeout_max: seconds().meta({ description: 'longest time limit of an attempt in seconds' }),
  })
  .meta({ id: 'ClientLimits' });

export const queuesMeta = { description: `queues that the client may use; each is ${PATTERN_RULE}` };
export const actionsMeta = {
  description: `actions that its tasks may have; each is ${PATTERN_RULE}; \`*\` does not include \`http.request\` and \`kubernetes.job\``,
};

/** What a client may do, as every view of a client shows it. */
const rightsShape = {
  name: z.string(),
  role: roleSchema.nullable().meta({ description: 'the role that has exactly these scopes; null if there is none' }),
  scopes: z.array(scopeSchema).meta({ description: scopesText }),
  queues: z.array(z.string()).meta(queuesMeta),
  actions: z.array(z.string()).meta(actionsMeta),
  limits: limitsSchema,
};

export const rightsSchema = z.object(rightsShape).meta({ id: 'ClientRights' });

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
type RightsView = z.input<typeof rightsSchema>;

type Rights = Pick<ClientRecord, 'name' | 'scopes' | 'queues' | 'actions' | 'limits'>;

export function rightsView({ name, scopes, queues, actions, limits }: Rights): RightsView {
  return {
    name,
    role: roleOf(scopes),
    scopes: [...scopes],
    queues: [...queues],
    actions: [...actions],
    limits: limitsView(limits),
  };
}

function limitsView(limits: ClientLimits): z.input<typeof limitsSchema> {
  const inSeconds = (ms: number | null): number | null => (ms === null ? null : ms / 1_000);
  return {
    rate_per_minute: limits.ratePerMinute,
    burst: limits.burst,
    unfinished_max: limits.unfinishedMax,
    delay_max: inSeconds(limits.delayMaxMs),
    timeout_max: inSeconds(limits.timeoutMaxMs),
  };
}

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
