interface Explanation {
  readonly fits: (message: string, code: string) => boolean;
  readonly advice: string;
}

const POOLER_ADVICE =
  'the connection goes through a pooler such as PgBouncer, which does not keep a session for one client: set DATABASE_PREPARED_STATEMENTS=false';

const EXPLANATIONS: readonly Explanation[] = [
  {
    fits: (message) => /startup parameter|command-line options/i.test(message),
    advice: `${POOLER_ADVICE} (or, if it pools sessions, let it pass on \`options\`; with ignore_startup_parameters it would drop them)`,
  },
  // A prepared statement is missing or exists already, because it was made on another connection of the pooler.
  { fits: (_message, code) => code === '26000' || code === '42P05', advice: POOLER_ADVICE },
  {
    fits: (message) => message.startsWith('The server does not support SSL connections'),
    advice: 'if the network to it is safe without TLS, put sslmode=disable into DATABASE_URL',
  },
  {
    fits: (_message, code) => /^(SELF_SIGNED_CERT|DEPTH_ZERO_SELF_SIGNED|UNABLE_TO_(VERIFY|GET_ISSUER))/.test(code),
    advice: 'set DATABASE_CA_FILE to the certificate of its authority',
  },
];

/** Adds advice to an error of PostgreSQL or of its connection if the error's own text has none. @returns the error */
export function explained(error: unknown): unknown {
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    const { message, code = '' } = cause as Error & { code?: unknown };
    const found = EXPLANATIONS.find(({ fits }) => fits(message, typeof code === 'string' ? code : ''));
    // The same error may be explained twice.
    if (found !== undefined && !message.includes(found.advice)) cause.message = `${message}: ${found.advice}`;
  }
  return error;
}
