import { readFileSync } from 'node:fs';
import pg from 'pg';
import { parseDatabaseUrl, problemOfDatabaseUrl } from '../../config/database-url.ts';
import type { Config } from '../../config/env.ts';
import { newestText } from '../../config/replaced-file.ts';
import { DATABASE_CLOSE_MS } from '../../config/timings.ts';
import { isUnanswered } from '../faults/classify.ts';

export type ConnectionSettings = Pick<Config, 'DATABASE_URL'> &
  Partial<Pick<Config, 'DATABASE_URL_FILE' | 'DATABASE_CA_FILE' | 'DATABASE_SCHEMA'>>;

/**
 * Creates the client class for the connections of the pool, the reads and the migrations. It looks up address, password
 * and certificates for each new connection, so that a replaced file needs no restart.
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

    /**
     * Ends the connection if a statement stays unanswered. The server may still run the statement later: a BEGIN that
     * nobody waits for any more would leave the connection in a transaction, and later reads would see its old snapshot.
     * The pool takes no connection back that is ending.
     */
    override query(...given: unknown[]): never {
      const result: unknown = (super.query as (...values: unknown[]) => unknown)(...given);
      if (result instanceof Promise) {
        result.catch((error: unknown) => {
          if (isUnanswered(error)) this.end().catch(() => {});
        });
      }
      return result as never;
    }

    static cutOff(): void {
      for (const { connection } of open) connection.stream.destroy();
    }
  };
}

export type ClientClass = typeof pg.Client & {
  /** Destroys all connections of this class at once, even those in use. */
  cutOff(): void;
};

/**
 * Ends a pool, and destroys every connection that is still open after `DATABASE_CLOSE_MS`, used or idle: a server that
 * does not answer would keep the process alive forever. This includes connections that the pool no longer tracks,
 * because the pool counts a connection as ended as soon as it has asked for the end.
 */
export async function closePool(Client: ClientClass, end: () => Promise<void>): Promise<void> {
  setTimeout(() => Client.cutOff(), DATABASE_CLOSE_MS).unref();
  await end();
}

type Address = Pick<pg.ClientConfig, 'connectionString' | 'ssl' | 'options'>;

/** Puts the session settings of the environment or the URL first, so that ours override them. */
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
  // TLS checks the certificate chain and the server's name, like libpq's verify-full; the URL must not weaken that.
  return () => {
    const { url, options } = parseDatabaseUrl(text());
    const address = withoutTlsParameters(url);
    // `pg` passes the host to TLS only if it is a name; for an IP address, TLS would check for localhost.
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
