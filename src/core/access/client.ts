import { createActionPatterns, createQueuePatterns, GRANTED_ACTIONS, type NamePatterns } from './name-patterns.ts';
import { SCOPES, type Scope } from './scopes.ts';

/** The name of a client. It is also part of idempotency keys and of the audit log. */
export const CLIENT_NAME = /^[a-z0-9][a-z0-9._-]{0,62}$/;
export const CLIENT_NAME_RULE = '1 to 63 characters of a-z 0-9 . _ -, the first a letter or digit, and not `self`';

/** `/clients/self` is the client of the request. */
export const SELF = 'self';

export function isClientName(name: string): boolean {
  return CLIENT_NAME.test(name) && name !== SELF;
}

/** Limits of one client. Null is no limit of its own. */
export interface ClientLimits {
  /** Tasks per minute. Null: the limit per address applies instead. */
  readonly ratePerMinute: number | null;
  /** Tokens in a full bucket. Null: as many as `ratePerMinute`. */
  readonly burst: number | null;
  /** Most unfinished tasks of the client. */
  readonly unfinishedMax: number | null;
  /** Longest delay of a task, in milliseconds. */
  readonly delayMaxMs: number | null;
  /** Longest time limit of an attempt, in milliseconds. */
  readonly timeoutMaxMs: number | null;
}

/** Largest values of limits. */
export const RATE_MAX = 10_000_000;
export const UNFINISHED_MAX = 1_000_000;
export const LIMIT_MS_MAX = 3_650 * 86_400_000;

/** A named user of the API: a service, a person, a worker. Requests act on behalf of one. */
export interface Client {
  /** Empty while nobody has to say who they are (`AUTH=open`). */
  readonly name: string;
  readonly scopes: ReadonlySet<Scope>;
  readonly queues: NamePatterns;
  readonly actions: NamePatterns;
  readonly limits: ClientLimits;
}

export const NO_LIMITS: ClientLimits = {
  ratePerMinute: null,
  burst: null,
  unfinishedMax: null,
  delayMaxMs: null,
  timeoutMaxMs: null,
};

/** The client of a request before anything is known about it. */
export const NOBODY: Client = {
  name: '',
  scopes: new Set(),
  queues: createQueuePatterns([]),
  actions: createActionPatterns([]),
  limits: NO_LIMITS,
};

/** On whose behalf requests act while nobody has to say who they are. */
export const ANYBODY: Client = {
  name: '',
  scopes: new Set(SCOPES),
  queues: createQueuePatterns(['*', 'system.*']),
  actions: createActionPatterns(['*', ...GRANTED_ACTIONS]),
  limits: NO_LIMITS,
};
