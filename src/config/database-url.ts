import { readFileSync } from 'node:fs';
import { messageOf } from '../core/errors.ts';

/** What a URL of PostgreSQL says, in the form that `pg` takes it. */
export interface DatabaseAddress {
  /** The URL without what is listed below. */
  readonly url: string;
  /** Settings for each session as the URL names them, `-c name=value …`; empty if it names none. */
  readonly options: string;
}

const EXPECTED = 'expected postgresql://user:password@host:port/database';

/** TLS as the URL asks for it. `require` and `verify-ca` check as much as `verify-full`: `pg` knows no less. */
const SSL_MODES = ['disable', 'require', 'verify-ca', 'verify-full', 'no-verify'];

const PARAMETERS = (
  'application_name fallback_application_name host options password port ' +
  'ssl sslcert sslkey sslmode sslnegotiation sslrootcert uselibpqcompat user'
).split(' ');

const FILE_PARAMETERS = ['sslcert', 'sslkey', 'sslrootcert'];

const SCHEMA_ADVICE = 'set DATABASE_SCHEMA instead';
const LEAVE_OUT = 'leave it out';

/** Parameters of other programs' URLs, and what to do instead. */
const ADVICE: Readonly<Record<string, string>> = {
  schema: SCHEMA_ADVICE,
  currentSchema: SCHEMA_ADVICE,
  search_path: SCHEMA_ADVICE,
  pgbouncer: 'set DATABASE_PREPARED_STATEMENTS=false instead',
  prepare_threshold: 'set DATABASE_PREPARED_STATEMENTS=false instead',
  connection_limit: 'set DATABASE_POOL_MAX instead',
  pool_timeout: LEAVE_OUT,
  connect_timeout: `a connection always has to stand after 3 s; ${LEAVE_OUT}`,
  statement_timeout: `statements always end after 10 s; ${LEAVE_OUT}`,
  client_encoding: `it is always UTF8; ${LEAVE_OUT}`,
  target_session_attrs: `the host has to be the primary, or to lead to it; ${LEAVE_OUT}`,
  channel_binding: `it is not supported; ${LEAVE_OUT}`,
  gssencmode: `it is not supported; ${LEAVE_OUT}`,
  dbname: 'put the name of the database into the path of the URL',
};

/**
 * What is wrong with a URL of PostgreSQL, null if nothing is. Anything that `pg` would pass over in silence is wrong:
 * whoever writes it expects it to count.
 */
export function problemOfDatabaseUrl(text: string): string | null {
  const [, authority] = /^postgres(?:ql)?:\/\/([^/?#]*)/.exec(text) ?? [];
  if (authority === undefined) return EXPECTED;
  const hosts = authority.slice(authority.lastIndexOf('@') + 1);
  if (hosts.includes(',')) return severalHosts();
  if (!URL.canParse(text)) return EXPECTED;
  const parameters = [...new URL(text).searchParams];
  const names = parameters.map(([name]) => name);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) return `the parameter \`${twice}\` is given twice`;
  return parameters.map(([name, value]) => problemOfParameter(name, value)).find((problem) => problem !== null) ?? null;
}

function severalHosts(): string {
  return 'names several hosts; expected one, which is the primary or leads to it, such as a pooler or a virtual address';
}

function problemOfParameter(name: string, value: string): string | null {
  const advice = Object.hasOwn(ADVICE, name) ? ADVICE[name] : undefined;
  if (advice !== undefined) return `the parameter \`${name}\` has no meaning here: ${advice}`;
  if (!PARAMETERS.includes(name)) return `unknown parameter \`${name}\`; expected ${PARAMETERS.join(', ')}`;
  if ((name === 'host' || name === 'port') && value.includes(',')) return severalHosts();
  if (name === 'sslmode') return problemOfSslMode(value);
  if (FILE_PARAMETERS.includes(name)) return problemOfFile(name, value);
  return null;
}

function problemOfSslMode(mode: string): string | null {
  if (SSL_MODES.includes(mode)) return null;
  const why = mode === 'prefer' || mode === 'allow' ? ', which would do without TLS where the server has none,' : '';
  return `sslmode=${mode}${why} is not supported; expected ${SSL_MODES.join(', ')}`;
}

function problemOfFile(name: string, path: string): string | null {
  try {
    readFileSync(path);
    return null;
  } catch (error) {
    return `the file of \`${name}\` cannot be read: ${messageOf(error)}`;
  }
}

/** @param text a URL in which nothing is wrong */
export function parseDatabaseUrl(text: string): DatabaseAddress {
  const url = new URL(text);
  const options = url.searchParams.get('options') ?? '';
  url.searchParams.delete('options');
  const { searchParams } = url;
  const mode = searchParams.get('sslmode');
  // `pg` treats both as `verify-full`, and writes a warning past the log each time it is not called that.
  if ((mode === 'require' || mode === 'verify-ca') && searchParams.get('uselibpqcompat') !== 'true') {
    searchParams.set('sslmode', 'verify-full');
  }
  return { url: url.href, options };
}
