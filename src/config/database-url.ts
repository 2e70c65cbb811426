import { readFileSync } from 'node:fs';
import { messageOf } from '../core/errors.ts';

/** The parts of a PostgreSQL URL, in the form that `pg` accepts. */
export interface DatabaseAddress {
  /** The URL without the parts below. */
  readonly url: string;
  /** Settings for each session from the URL, `-c name=value …`; empty if there are none. */
  readonly options: string;
}

const EXPECTED = 'expected postgresql://user:password@host:port/database';

/** The supported TLS modes. `require` and `verify-ca` check as much as `verify-full`: `pg` has no weaker check. */
const SSL_MODES = ['disable', 'require', 'verify-ca', 'verify-full', 'no-verify'];

const PARAMETERS = (
  'application_name fallback_application_name host options password port ' +
  'ssl sslcert sslkey sslmode sslnegotiation sslrootcert uselibpqcompat user'
).split(' ');

const FILE_PARAMETERS = ['sslcert', 'sslkey', 'sslrootcert'];

const SCHEMA_ADVICE = 'set DATABASE_SCHEMA instead';
const LEAVE_OUT = 'leave it out';

/** Parameters that other programs accept in a URL, with the advice what to do instead. */
const ADVICE: Readonly<Record<string, string>> = {
  schema: SCHEMA_ADVICE,
  currentSchema: SCHEMA_ADVICE,
  search_path: SCHEMA_ADVICE,
  pgbouncer: 'set DATABASE_PREPARED_STATEMENTS=false instead',
  prepare_threshold: 'set DATABASE_PREPARED_STATEMENTS=false instead',
  connection_limit: 'set DATABASE_POOL_MAX instead',
  pool_timeout: LEAVE_OUT,
  connect_timeout: `the timeout for a connection is always 3 s; ${LEAVE_OUT}`,
  statement_timeout: `the timeout for a statement is always 10 s; ${LEAVE_OUT}`,
  client_encoding: `the encoding is always UTF8; ${LEAVE_OUT}`,
  target_session_attrs: `the host has to be the primary, or to lead to it; ${LEAVE_OUT}`,
  channel_binding: `it is not supported; ${LEAVE_OUT}`,
  gssencmode: `it is not supported; ${LEAVE_OUT}`,
  dbname: 'put the name of the database into the path of the URL',
};

/**
 * Returns what is wrong with a PostgreSQL URL, or null if nothing is. A parameter that `pg` would silently ignore is
 * an error, because its author expects it to have an effect.
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
  const why = mode === 'prefer' || mode === 'allow' ? ', which would connect without TLS if the server has none,' : '';
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

/** @param text a URL without problems, see `problemOfDatabaseUrl` */
export function parseDatabaseUrl(text: string): DatabaseAddress {
  const url = new URL(text);
  const options = url.searchParams.get('options') ?? '';
  url.searchParams.delete('options');
  const { searchParams } = url;
  const mode = searchParams.get('sslmode');
  // `pg` treats both modes as `verify-full`, but prints a warning past our log unless that name is given.
  if ((mode === 'require' || mode === 'verify-ca') && searchParams.get('uselibpqcompat') !== 'true') {
    searchParams.set('sslmode', 'verify-full');
  }
  return { url: url.href, options };
}
