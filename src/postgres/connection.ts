import { readFileSync } from 'node:fs';
import pg from 'pg';
import type { Config } from '../config/env.ts';
import { DATABASE_CLOSE_MS } from '../config/timings.ts';
import { parseDatabaseUrl, problemOfDatabaseUrl } from '../config/database-url.ts';
import { newestText } from '../config/replaced-file.ts';

export type ConnectionSettings = Pick<Config, 'DATABASE_URL'> &
  Partial<Pick<Config, 'DATABASE_URL_FILE' | 'DATABASE_CA_FILE' | 'DATABASE_SCHEMA'>>;

/**
 * The client of every connection to PostgreSQL: the pool's, the reads' and the
 * migrations'. Address, password and certificates are looked up for each
 * connection, so that files that are replaced need no restart.
 */
export function createClientClass(settings: ConnectionSettings): ClientClass {
  const address = createAddress(settings);
  const open = new Set<pg.Client>();
  return class extends pg.Client {
    constructor(options?: string | pg.ClientConfig) {
      super(addressed(typeof options === 'string' ? {} : options, address()));
      open.add(this);
      this.once('end', () => open.delete(this));
    }

    static cutOff(): void {
      for (const { connection } of open) connection.stream.destroy();
    }
  };
}

export type ClientClass = typeof pg.Client & {
  /** Ends all connections of this class at once, whatever they are at. */
  cutOff(): void;
};

/**
 * Ends a pool. Connections that hang are cut off, used or idle: a server that does not answer would hold the process
 * for ever. Also those that the pool has forgotten, since it counts a connection as ended when that is asked for.
 */
export async function closePool(Client: ClientClass, end: () => Promise<void>): Promise<void> {
  setTimeout(() => Client.cutOff(), DATABASE_CLOSE_MS).unref();
  await end();
}

type Address = Pick<pg.ClientConfig, 'connectionString' | 'ssl' | 'options'>;

/** Settings of the session that the environment or the URL names come first, so that ours win. */
function addressed(config: pg.ClientConfig = {}, { options, ...address }: Address): pg.ClientConfig {
  const given = [options === '' ? process.env['PGOPTIONS'] : options, config.options].filter(Boolean).join(' ');
  return { ...config, ...address, ...(given === '' ? {} : { options: given }) };
}

function createAddress(settings: ConnectionSettings): () => Address {
  const { DATABASE_URL_FILE: urlFile = '', DATABASE_CA_FILE: caFile = '' } = settings;
  const text =
    urlFile === ''
      ? () => settings.DATABASE_URL
      : newestText(urlFile, settings.DATABASE_URL, (newest) => problemOfDatabaseUrl(newest) === null);
  if (caFile === '') {
    return () => {
      const { url, options } = parseDatabaseUrl(text());
      return { connectionString: url, options };
    };
  }
  const ca = newestText(caFile, readFileSync(caFile, 'utf8'), (pem) => pem.endsWith('-----END CERTIFICATE-----'));
  // Chain and name of the server are checked, as libpq's verify-full does; the URL must not weaken that.
  return () => {
    const { url, options } = parseDatabaseUrl(text());
    const address = withoutTlsParameters(url);
    // `pg` names the host to TLS only where it is a name; an address would be taken for localhost.
    const ssl = { ca: ca(), host: address.hostname.replace(/^\[|\]$/g, '') };
    return { connectionString: address.toString(), options, ssl };
  };
}

const TLS_PARAMETERS = ['ssl', 'sslmode', 'sslrootcert', 'uselibpqcompat'];

function withoutTlsParameters(text: string): URL {
  const url = new URL(text);
  for (const name of TLS_PARAMETERS) url.searchParams.delete(name);
  return url;
}
