/** The parts of a REDIS_URL. */
export interface RedisAddress {
  readonly tls: boolean;
  readonly host: string;
  readonly port: number;
  /** Undefined means the user `default`. */
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly database: number;
}

const ENCODE = 'special characters of user and password are percent-encoded, a % itself as %25';
const REDIS_EXAMPLE = `expected redis://user:password@host:port/0; ${ENCODE}`;
const REDIS_PORT = 6379;

/**
 * Reads `redis://user:password@host:port/0`. A part of the URL that would not be used is an error.
 * @returns the parts, or what is wrong with the URL, without secrets
 */
export function parseRedisUrl(text: string): RedisAddress | string {
  if (!URL.canParse(text)) return REDIS_EXAMPLE;
  const url = new URL(text);
  if (url.protocol !== 'redis:' && url.protocol !== 'rediss:') return REDIS_EXAMPLE;
  if (url.hostname === '') return `it names no host; ${REDIS_EXAMPLE}`;
  const problem = encodingProblem(url) ?? restProblem(url);
  if (problem !== null) return problem;
  return {
    tls: url.protocol === 'rediss:',
    host: url.hostname.replaceAll(/^\[|\]$/g, ''),
    port: Number(url.port || REDIS_PORT),
    username: url.username === '' ? undefined : decodeURIComponent(url.username),
    password: url.password === '' ? undefined : decodeURIComponent(url.password),
    database: Number(url.pathname.slice(1) || 0),
  };
}

/** @throws TypeError that says what is wrong with the URL */
export function redisAddressOf(text: string): RedisAddress {
  const address = parseRedisUrl(text);
  if (typeof address === 'string') throw new TypeError(address);
  return address;
}

/** @returns what is wrong with the percent-encoding of a URL; null if nothing is wrong, or if the text is not a URL */
export function encodingProblemOf(text: string): string | null {
  return URL.canParse(text) ? encodingProblem(new URL(text)) : null;
}

function encodingProblem(url: URL): string | null {
  const parts = { 'user name': url.username, password: url.password, path: url.pathname };
  for (const [name, part] of Object.entries(parts)) {
    try {
      decodeURIComponent(part);
    } catch {
      return `the ${name} has a % that does not begin a percent-encoding; ${ENCODE}`;
    }
  }
  return null;
}

function restProblem({ pathname, searchParams, hash }: URL): string | null {
  if (!/^\/?\d{0,5}$/.test(pathname)) {
    return `expected the number of a database after the host, such as /0; given ${JSON.stringify(pathname)}`;
  }
  const [parameter] = searchParams.keys();
  if (parameter !== undefined) {
    const hint = parameter === 'db' ? '; the number of the database is the path, such as /3' : '';
    return `unknown query parameter ${JSON.stringify(parameter)}, no parameter is supported${hint}`;
  }
  return hash === '' ? null : `expected nothing after the database; ${ENCODE}, a # as %23`;
}
