/** What a client may do. Every route declares the scope that it needs. */
export const SCOPES = ['submit', 'read', 'payload', 'work', 'operate', 'admin', 'metrics'] as const;
export type Scope = (typeof SCOPES)[number];

/** Explains each scope; the OpenAPI document and `docs/security.md` show these texts. */
export const SCOPE_MEANINGS: Readonly<Record<Scope, string>> = {
  submit: 'submit tasks',
  read: 'see tasks, queues, workers and dead letters, without payloads, results, error texts and private metadata',
  payload: 'see payloads, results, progress, error texts and private metadata as well',
  work: 'claim and settle tasks as a remote worker',
  operate: 'cancel and requeue tasks; pause, resume, change and delete queues',
  admin: 'manage clients, see and end sessions, read the audit log; with `payload`, reveal what is redacted',
  metrics: 'read `/metrics`',
};

/** A role is a short name for a set of scopes. */
export const ROLES = {
  submitter: ['submit', 'read'],
  viewer: ['read'],
  operator: ['read', 'payload', 'operate', 'metrics'],
  worker: ['work'],
  admin: SCOPES,
} as const satisfies Readonly<Record<string, readonly Scope[]>>;
export type Role = keyof typeof ROLES;

export const ROLE_NAMES = Object.keys(ROLES) as [Role, ...Role[]];

/** Returns the role that has exactly these scopes; null if there is none. */
export function roleOf(scopes: readonly Scope[]): Role | null {
  const given = new Set<Scope>(scopes);
  const fits = (role: Role): boolean => ROLES[role].length === given.size && ROLES[role].every((one) => given.has(one));
  return ROLE_NAMES.find(fits) ?? null;
}
