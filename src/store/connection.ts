import { readFileSync } from 'node:fs';
import pg from 'pg';
import type { Config } from '../config/env.ts';
import { DATABASE_CLOSE_MS } from '../config/timings.ts';
import { newestText } from '../config/replaced-file.ts';

export type ConnectionSettings = Pick<Config, 'DATABASE_URL'> &
  Partial<Pick<Config, 'DATABASE_URL_FILE' | 'DATABASE_CA_FILE'>>;

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
      super({ ...(typeof options === 'string' ? { connectionString: options } : options), ...address() });
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

type Address = Pick<pg.ClientConfig, 'connectionString' | 'ssl'>;

function createAddress(settings: ConnectionSettings): () => Address {
  const { DATABASE_URL_FILE: urlFile = '', DATABASE_CA_FILE: caFile = '' } = settings;
  const url =
    urlFile === ''
      ? () => settings.DATABASE_URL
      : newestText(urlFile, settings.DATABASE_URL, (text) => URL.canParse(text));
  if (caFile === '') return () => ({ connectionString: url() });
  const ca = newestText(caFile, readFileSync(caFile, 'utf8'), (text) => text.endsWith('-----END CERTIFICATE-----'));
  // Chain and name of the server are checked, as libpq's verify-full does; the URL must not weaken that.
  return () => {
    const address = withoutTlsParameters(url());
    // `pg` names the host to TLS only where it is a name; an address would be taken for localhost.
    return { connectionString: address.toString(), ssl: { ca: ca(), host: address.hostname.replace(/^\[|\]$/g, '') } };
  };
}

const TLS_PARAMETERS = ['ssl', 'sslmode', 'sslrootcert', 'uselibpqcompat'];

function withoutTlsParameters(text: string): URL {
  const url = new URL(text);
  for (const name of TLS_PARAMETERS) url.searchParams.delete(name);
  return url;
}
