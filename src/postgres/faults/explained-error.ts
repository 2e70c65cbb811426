interface Explanation {
  readonly fits: (message: string, code: string) => boolean;
  readonly advice: string;
}

const POOLER_ADVICE =
  'a pooler such as PgBouncer is in between, which does not keep a session for one client: set DATABASE_PREPARED_STATEMENTS=false';

const EXPLANATIONS: readonly Explanation[] = [
  {
    fits: (message) => /startup parameter|command-line options/i.test(message),
    advice: `${POOLER_ADVICE} (or, where it pools sessions, have it pass on \`options\`; with ignore_startup_parameters it would drop them)`,
  },
  // A prepared statement is not there, or is there already: it was made on another connection of the pooler.
  { fits: (_message, code) => code === '26000' || code === '42P05', advice: POOLER_ADVICE },
  {
    fits: (message) => message.startsWith('The server does not support SSL connections'),
    advice: 'where the way to it is safe without TLS, put sslmode=disable into DATABASE_URL',
  },
  {
    fits: (_message, code) => /^(SELF_SIGNED_CERT|DEPTH_ZERO_SELF_SIGNED|UNABLE_TO_(VERIFY|GET_ISSUER))/.test(code),
    advice: 'name the certificate of its authority in DATABASE_CA_FILE',
  },
];

/** An error of PostgreSQL or of the way to it, with what to do about it where its own text does not say. */
export function explained(error: unknown): unknown {
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    const { message, code = '' } = cause as Error & { code?: unknown };
    const found = EXPLANATIONS.find(({ fits }) => fits(message, typeof code === 'string' ? code : ''));
    // The same error may come by twice.
    if (found !== undefined && !message.includes(found.advice)) cause.message = `${message}: ${found.advice}`;
  }
  return error;
}
