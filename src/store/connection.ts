import { readFileSync } from 'node:fs';
import pg from 'pg';
import type { Config } from '../config/env.ts';
import { newestText } from '../config/replaced-file.ts';

export type ConnectionSettings = Pick<Config, 'DATABASE_URL'> &
  Partial<Pick<Config, 'DATABASE_URL_FILE' | 'DATABASE_CA_FILE'>>;

/**
 * The client of every connection to PostgreSQL: the pool's, the reads' and the
 * migrations'. Address, password and certificates are looked up for each
 * connection, so that files that are replaced need no restart.
 */
export function createClientClass(settings: ConnectionSettings): typeof pg.Client {
  const address = createAddress(settings);
  return class extends pg.Client {
    constructor(options?: string | pg.ClientConfig) {
      super({ ...(typeof options === 'string' ? { connectionString: options } : options), ...address() });
    }
  };
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
