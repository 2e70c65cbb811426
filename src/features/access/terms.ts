import { z } from 'zod';
import { parseDuration } from '../../config/duration.ts';
import {
  LIMIT_MS_MAX,
  NO_LIMITS,
  RATE_MAX,
  UNFINISHED_MAX,
  type Client,
  type ClientLimits,
} from '../../core/access/client.ts';
import {
  createActionPatterns,
  createQueuePatterns,
  isNamePattern,
  PATTERN_RULE,
} from '../../core/access/name-patterns.ts';
import { ROLE_NAMES, ROLES, SCOPES, type Role, type Scope } from '../../core/access/scopes.ts';

/** What a client may do, and how much, in the form in which it is stored. */
export interface ClientTerms {
  readonly scopes: readonly Scope[];
  /** Patterns, as `createQueuePatterns` takes them. */
  readonly queues: readonly string[];
  readonly actions: readonly string[];
  readonly limits: ClientLimits;
  readonly note: string;
}

/** The terms of a client of which nothing is said but its scopes. */
export const DEFAULT_TERMS: Omit<ClientTerms, 'scopes'> = {
  queues: ['*'],
  actions: ['*'],
  limits: NO_LIMITS,
  note: '',
};

/** Most patterns of a client. */
export const PATTERNS_MAX = 100;
export const NOTE_LENGTH_MAX = 500;

export function makeClient(name: string, { scopes, queues, actions, limits }: Omit<ClientTerms, 'note'>): Client {
  return {
    name,
    scopes: new Set(scopes),
    queues: createQueuePatterns(queues),
    actions: createActionPatterns(actions),
    limits,
  };
}

/**
 * Returns the scopes of a client to which either a role or scopes are given; undefined if neither is. They are in the
 * order in which they are documented, without repetitions.
 */
export function grantedScopes(role: Role | undefined, scopes: readonly Scope[] | undefined): Scope[] | undefined {
  const granted: readonly Scope[] | undefined = role === undefined ? scopes : ROLES[role];
  return granted && SCOPES.filter((scope) => granted.includes(scope));
}

const listed = (text: string): string[] => text.split(/[\s,]+/).filter((part) => part !== '');

const patterns = () =>
  z
    .string()
    .transform(listed)
    .refine((parts) => parts.every(isNamePattern), `expected a comma-separated list; each is ${PATTERN_RULE}`)
    .refine((parts) => parts.length <= PATTERNS_MAX, `expected at most ${PATTERNS_MAX}`);

const limit = (max: number) =>
  z.string().transform((text, context) => {
    const value = Number(/^\d{1,12}$/.test(text) ? text : 'none');
    if (text === 'none') return null;
    if (value >= 1 && value <= max) return value;
    context.addIssue({ code: 'custom', message: `expected a whole number from 1 to ${max}, or none` });
    return z.NEVER;
  });

const duration = () =>
  z.string().transform((text, context) => {
    if (text === 'none') return null;
    const ms = parseDuration(text);
    if (ms !== null && ms >= 0 && ms <= LIMIT_MS_MAX) return ms;
    context.addIssue({ code: 'custom', message: 'expected a duration such as 30s, 5m, 24h or 7d, or none' });
    return z.NEVER;
  });

/** Control characters would break terminals. */
const NOTE = new RegExp(`^[^\\u0000-\\u001f\\u007f-\\u009f]{0,${NOTE_LENGTH_MAX}}$`);

const SCOPES_RULE = `expected a comma-separated list of ${SCOPES.join(', ')}`;

/** What can be said of a client in texts: the options of the command, and the files of `CLIENTS_DIR`. */
const TEXTS = z.strictObject({
  role: z.enum(ROLE_NAMES, `expected one of ${ROLE_NAMES.join(', ')}`).optional(),
  scopes: z
    .string()
    .transform(listed)
    .pipe(z.array(z.enum(SCOPES, SCOPES_RULE)).min(1, SCOPES_RULE))
    .optional(),
  queues: patterns().optional(),
  actions: patterns().optional(),
  rate: limit(RATE_MAX).optional(),
  burst: limit(RATE_MAX).optional(),
  'unfinished-max': limit(UNFINISHED_MAX).optional(),
  'delay-max': duration().optional(),
  'timeout-max': duration().optional(),
  note: z.string().regex(NOTE, `expected at most ${NOTE_LENGTH_MAX} characters, and no control characters`).optional(),
});

/** The names of everything that can be said of a client in texts. */
export const TERM_NAMES = Object.keys(TEXTS.shape) as readonly (keyof z.input<typeof TEXTS>)[];

/** Terms of which only some are given. */
export type PartialTerms = Partial<Omit<ClientTerms, 'limits'>> & { readonly limits?: Partial<ClientLimits> };

/** What is wrong with a term that was given. Its text is never part of it. */
export interface TermProblem {
  readonly term: string;
  readonly rule: string;
}

/** Reads terms from texts. */
export function readTerms(
  texts: Readonly<Record<string, string | undefined>>,
): { readonly terms: PartialTerms } | { readonly problems: readonly TermProblem[] } {
  const given = Object.fromEntries(Object.entries(texts).filter(([, text]) => text !== undefined));
  const result = TEXTS.safeParse(given);
  if (!result.success)
    return { problems: result.error.issues.map(({ path, message }) => ({ term: String(path[0]), rule: message })) };
  const { role, scopes, queues, actions, note, ...limits } = result.data;
  if (role !== undefined && scopes !== undefined)
    return { problems: [{ term: 'role', rule: 'expected either a role or scopes, not both' }] };
  const terms = withoutUndefined({
    scopes: grantedScopes(role, scopes),
    queues,
    actions,
    note,
    limits: withoutUndefined({
      ratePerMinute: limits.rate,
      burst: limits.burst,
      unfinishedMax: limits['unfinished-max'],
      delayMaxMs: limits['delay-max'],
      timeoutMaxMs: limits['timeout-max'],
    }),
  });
  return { terms };
}

/** Returns the whole terms of a new client. */
export function completeTerms(given: PartialTerms, scopes: readonly Scope[]): ClientTerms {
  return { scopes, ...DEFAULT_TERMS, ...given, limits: { ...NO_LIMITS, ...given.limits } };
}

export function withoutUndefined<Values extends object>(
  values: Values,
): { [Name in keyof Values]?: Exclude<Values[Name], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as never;
}
