/** What a REDIS_URL says. */
export interface RedisAddress {
  readonly tls: boolean;
  readonly host: string;
  readonly port: number;
  /** Undefined stands for the user `default`. */
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly database: number;
}

const ENCODE = 'special characters of user and password are percent-encoded, a % itself as %25';
const REDIS_EXAMPLE = `expected redis://user:password@host:port/0; ${ENCODE}`;
const REDIS_PORT = 6379;

/**
 * Reads `redis://user:password@host:port/0` whole: what would not be used is a mistake.
 * @returns what it says, or what is wrong with it; never a secret
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

/** @throws TypeError saying what is wrong with it */
export function redisAddressOf(text: string): RedisAddress {
  const address = parseRedisUrl(text);
  if (typeof address === 'string') throw new TypeError(address);
  return address;
}

/** @returns what is wrong with the percent-encoding of a URL; null if nothing is, or if it is no URL at all */
export function encodingProblemOf(text: string): string | null {
  return URL.canParse(text) ? encodingProblem(new URL(text)) : null;
}

function encodingProblem(url: URL): string | null {
  const parts = { 'user name': url.username, password: url.password, path: url.pathname };
  for (const [name, part] of Object.entries(parts)) {
    try {
      decodeURIComponent(part);
    } catch {
      return `the ${name} has a % that begins no percent-encoding; ${ENCODE}`;
    }
  }
  return null;
}

function restProblem({ pathname, searchParams, hash }: URL): string | null {
  if (!/^\/?\d{0,5}$/.test(pathname)) {
    return `expected the number of a database behind the host, such as /0; given ${JSON.stringify(pathname)}`;
  }
  const [parameter] = searchParams.keys();
  if (parameter !== undefined) {
    const hint = parameter === 'db' ? '; the number of the database is the path, such as /3' : '';
    return `unknown query parameter ${JSON.stringify(parameter)}, none is known${hint}`;
  }
  return hash === '' ? null : `expected nothing behind the database; ${ENCODE}, a # as %23`;
}
