import { z } from 'zod';
import { NO_LIMITS, type Client } from '../../../core/access/client.ts';
import {
  createActionPatterns,
  createQueuePatterns,
  isNamePattern,
  PATTERN_RULE,
} from '../../../core/access/name-patterns.ts';
import { ROLE_NAMES, ROLES, SCOPES, type Scope } from '../../../core/access/scopes.ts';
import { messageOf, SchedulerError } from '../../../core/errors.ts';
import { PROVIDER_PREFIX } from '../provider-prefix.ts';

/** What people may do if the claim has this value. */
export interface Grant {
  /** Compared exactly, so `Shop` is another value than `shop`. It also names the grant. */
  readonly value: string;
  readonly scopes: readonly Scope[];
  readonly queues: readonly string[];
  readonly actions: readonly string[];
}

/** All grants, in the order in which they are given. */
export interface Grants {
  /** Returns the first grant whose value is among those of a person; null if there is none. */
  match(values: readonly string[]): Grant | null;
  /** Returns the grant of a value; null if there is none any more. */
  named(value: string): Grant | null;
}

const ENTRIES_MAX = 1_000;
const VALUE_LENGTH_MAX = 500;
const PATTERNS_MAX = 100;
const GIVEN_LENGTH_MAX = 100;

const TERMS = ['value', 'role', 'scopes', 'queues', 'actions'];

const patterns = () =>
  z
    .array(
      z.string(`expected ${PATTERN_RULE}`).refine(isNamePattern, `expected ${PATTERN_RULE}`),
      'expected a list of patterns',
    )
    .min(1, 'expected at least one pattern')
    .max(PATTERNS_MAX, `expected at most ${PATTERNS_MAX} patterns`);

const scopesRule = `expected a list of some of ${SCOPES.join(', ')}`;

const entrySchema = z
  .strictObject(
    {
      value: z
        .string('expected a text: the value of the claim')
        .min(1, 'expected the value of the claim')
        .max(VALUE_LENGTH_MAX, `expected at most ${VALUE_LENGTH_MAX} characters`),
      role: z.enum(ROLE_NAMES, `expected one of ${ROLE_NAMES.join(', ')}`).optional(),
      scopes: z.array(z.enum(SCOPES, scopesRule), scopesRule).min(1, scopesRule).optional(),
      queues: patterns().default(['*']),
      actions: patterns().default(['*']),
    },
    {
      error: ({ code, keys }) =>
        code === 'unrecognized_keys'
          ? `unknown ${keys.map((key) => JSON.stringify(key)).join(', ')}; expected only ${TERMS.join(', ')}`
          : `expected an object with ${TERMS.join(', ')}`,
    },
  )
  .refine(
    ({ role, scopes }) => (role === undefined) !== (scopes === undefined),
    'expected either `role` or `scopes`, and not both',
  );

const fileSchema = z
  .array(entrySchema, 'expected a list, such as [{ "value": "scheduler-admins", "role": "admin" }]')
  .min(1, 'expected at least one entry, because otherwise nobody who logs in may do anything')
  .max(ENTRIES_MAX, `expected at most ${ENTRIES_MAX} entries`)
  .superRefine((entries, context) => {
    const first = new Map<string, number>();
    for (const [index, { value }] of entries.entries()) {
      const before = first.get(value);
      if (before === undefined) first.set(value, index);
      else {
        const message = `expected a value of its own, but entry ${before + 1} has it too`;
        context.addIssue({ code: 'custom', path: [index, 'value'], message });
      }
    }
  });

/**
 * Reads all grants. A process does it once, so that it is clear which grants apply: those of its start.
 * @throws SchedulerError that names every wrong entry, with what was expected and what was given
 */
export function parseGrants(text: string): Grants {
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (error) {
    throw unusable([`expected JSON: ${messageOf(error)}`]);
  }
  const result = fileSchema.safeParse(content);
  if (!result.success) throw unusable(result.error.issues.map((issue) => describeIssue(issue, content)));
  return createGrants(
    result.data.map(({ value, role, scopes = [], queues, actions }) => {
      const granted: readonly Scope[] = role === undefined ? scopes : ROLES[role];
      return { value, scopes: SCOPES.filter((scope) => granted.includes(scope)), queues, actions };
    }),
  );
}

export function createGrants(grants: readonly Grant[]): Grants {
  const byValue = new Map(grants.map((grant) => [grant.value, grant]));
  return {
    match(values) {
      const given = new Set(values);
      return grants.find(({ value }) => given.has(value)) ?? null;
    },
    named: (value) => byValue.get(value) ?? null,
  };
}

/**
 * Makes the client on whose behalf a person acts. No other client can have its name, because names of clients have no
 * colon.
 */
export function clientOfPerson(name: string, { scopes, queues, actions }: Grant): Client {
  return {
    name: PROVIDER_PREFIX + name,
    scopes: new Set(scopes),
    queues: createQueuePatterns(queues),
    actions: createActionPatterns(actions),
    limits: NO_LIMITS,
  };
}

function unusable(problems: readonly string[]): SchedulerError {
  return new SchedulerError(
    'unusable_grants',
    `OIDC_GRANTS is not usable:\n${problems.map((problem) => `  ${problem}`).join('\n')}`,
  );
}

function describeIssue({ path, message }: z.core.$ZodIssue, content: unknown): string {
  const [index, ...rest] = path;
  let given = content;
  for (const part of path) given = (given as Record<PropertyKey, unknown> | undefined)?.[part];
  const place = index === undefined ? [] : [`entry ${Number(index) + 1}`, ...rest.map(String)];
  return [...place, `${message}; given ${shown(given)}`].join(': ');
}

function shown(given: unknown): string {
  const text = given === undefined ? 'nothing' : JSON.stringify(given);
  return text.length > GIVEN_LENGTH_MAX ? `${text.slice(0, GIVEN_LENGTH_MAX)}…` : text;
}
