import { z } from 'zod';
import { LIMIT_MS_MAX, RATE_MAX, UNFINISHED_MAX, type Client, type ClientLimits } from '../../core/access/client.ts';
import { PATTERN_RULE } from '../../core/access/name-patterns.ts';
import { ROLE_NAMES, roleOf, SCOPE_MEANINGS, SCOPES, type Scope } from '../../core/access/scopes.ts';

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
export const rightsShape = {
  name: z.string(),
  role: roleSchema.nullable().meta({ description: 'the role that has exactly these scopes; null if there is none' }),
  scopes: z.array(scopeSchema).meta({ description: scopesText }),
  queues: z.array(z.string()).meta(queuesMeta),
  actions: z.array(z.string()).meta(actionsMeta),
  limits: limitsSchema,
};

export const rightsSchema = z.object(rightsShape).meta({ id: 'ClientRights' });

type RightsView = z.input<typeof rightsSchema>;

/** What a client may do, in the form in which it is stored. */
interface Rights {
  readonly name: string;
  readonly scopes: readonly Scope[];
  readonly queues: readonly string[];
  readonly actions: readonly string[];
  readonly limits: ClientLimits;
}

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

/** Shows the client of a request. */
export function rightsOf({ name, scopes, queues, actions, limits }: Client): RightsView {
  return rightsView({ name, scopes: [...scopes], queues: queues.texts, actions: actions.texts, limits });
}
