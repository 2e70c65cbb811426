import { connect, createServer, type AddressInfo } from 'node:net';
import { atEndOfFile } from './end-of-file.ts';

/** The startup parameters that PgBouncer accepts by default. */
const ACCEPTED = new Set(['user', 'database', 'client_encoding', 'datestyle', 'timezone', 'application_name']);

/** Returns the error for a startup parameter that a pooler does not accept (PostgreSQL manual, "Message Formats"). */
function refusal(parameter: string): Buffer {
  const fields = `SFATAL\0VFATAL\0C08P01\0Munsupported startup parameter: ${parameter}\0\0`;
  const head = Buffer.alloc(5);
  head.write('E');
  head.writeInt32BE(4 + Buffer.byteLength(fields), 1);
  return Buffer.concat([head, Buffer.from(fields)]);
}

/**
 * Starts a proxy in front of a PostgreSQL that is as strict about new connections as a pooler in transaction mode.
 * @returns the URL through it
 */
export async function startTransactionPooler(upstreamUrl: string): Promise<string> {
  const upstream = new URL(upstreamUrl);
  const server = createServer((client) => {
    const target = connect(Number(upstream.port), upstream.hostname);
    for (const [from, to] of [
      [client, target],
      [target, client],
    ] as const) {
      from.on('error', () => {});
      from.on('close', () => to.destroy());
    }
    client.once('data', (startup: Buffer) => {
      // The message has its length, the protocol version, and then names and values that end with NUL.
      const words = startup.subarray(8).toString('latin1').split('\0');
      const unknown = words.find((word, i) => i % 2 === 0 && word !== '' && !ACCEPTED.has(word.toLowerCase()));
      if (unknown !== undefined) {
        client.end(refusal(unknown));
        return;
      }
      target.write(startup);
      client.pipe(target);
      target.pipe(client);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  atEndOfFile(() => new Promise((resolve) => server.close(() => resolve())));
  const url = new URL(upstreamUrl);
  url.port = String((server.address() as AddressInfo).port);
  return url.href;
}
