import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { freePort, type PrivateServer } from '../../scripts/stores/private-server.ts';
import { giveTo, unprivilegedAccount } from '../../scripts/stores/unprivileged.ts';
import { selfSignedCertificate } from '../self-signed-certificate.ts';
import { atEndOfFile } from './end-of-file.ts';
import { memoryDirectory } from './memory-directory.ts';
import { startPostgres, startRedis } from './private-stores.ts';
import { startSentinel } from './sentinel.ts';

export interface TlsServer {
  readonly server: PrivateServer;
  /** Port that requires TLS. */
  readonly port: number;
  /** File with the certificate of the authority, which is the server's own certificate. */
  readonly caFile: string;
}

/** Starts a PostgreSQL that requires TLS from all users but its superuser, whom the harness uses. */
export async function startTlsPostgres(): Promise<TlsServer> {
  const files = writeCertificate();
  const rules = join(files.directory, 'pg_hba.conf');
  writeOwned(rules, 'host all scheduler 127.0.0.1/32 scram-sha-256\nhostssl all all 127.0.0.0/8 scram-sha-256\n');
  const server = await startPostgres({
    settings: {
      listen_addresses: '127.0.0.1,127.0.0.2',
      ssl: 'on',
      ssl_cert_file: files.certFile,
      ssl_key_file: files.keyFile,
      hba_file: rules,
    },
  });
  return { server, port: Number(new URL(server.url).port), caFile: files.certFile };
}

export interface TlsRedisOptions {
  /** Uses the certificate of this server. */
  readonly like?: TlsServer;
  /** Whether its certificate is only for the name `localhost`, not for the address. */
  readonly byName?: boolean;
  readonly settings?: Readonly<Record<string, string>>;
}

/** Starts a Redis with a password and a second port for TLS. */
export async function startTlsRedis(options: TlsRedisOptions = {}): Promise<TlsServer> {
  const certFile = options.byName === true ? writeCertificate(false).certFile : options.like?.caFile;
  const { port, caFile, settings } = await tlsSettings(certFile);
  return { server: await startRedis({ settings: { ...settings, ...options.settings } }), port, caFile };
}

/** Starts a Sentinel that watches the TLS port of a Redis and has a TLS port itself. */
export async function startTlsSentinel(redis: TlsServer): Promise<TlsServer> {
  const { port, settings } = await tlsSettings(redis.caFile);
  const { password } = new URL(redis.server.url);
  const server = await startSentinel(redis.port, password, { ...settings, 'tls-replication': 'yes' });
  return { server, port, caFile: redis.caFile };
}

/** Returns settings for a TLS port of a Redis or a Sentinel, with the given certificate or a new one. */
async function tlsSettings(certFile?: string) {
  const files =
    certFile === undefined ? writeCertificate() : { certFile, keyFile: join(dirname(certFile), 'server.key') };
  const port = await freePort();
  const settings = {
    'tls-port': String(port),
    'tls-cert-file': files.certFile,
    'tls-key-file': files.keyFile,
    'tls-ca-cert-file': files.certFile,
    'tls-auth-clients': 'no',
  };
  return { port, caFile: files.certFile, settings };
}

/** Makes a certificate that no server uses. @returns its file */
export function strangersCertificate(): string {
  return writeCertificate().certFile;
}

function writeCertificate(withAddress = true): { directory: string; certFile: string; keyFile: string } {
  const { cert, key } = selfSignedCertificate(withAddress);
  const directory = mkdtempSync(join(memoryDirectory(), 'scheduler-tests-certificate-'));
  atEndOfFile(async () => rmSync(directory, { recursive: true }));
  chmodSync(directory, 0o755);
  const certFile = join(directory, 'server.pem');
  const keyFile = join(directory, 'server.key');
  writeOwned(certFile, cert);
  writeOwned(keyFile, key);
  return { directory, certFile, keyFile };
}

function writeOwned(path: string, text: string): void {
  writeFileSync(path, text, { mode: 0o600 });
  giveTo(path, unprivilegedAccount());
}
