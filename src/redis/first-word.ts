import { connect } from 'node:net';
import { REDIS_CONNECT_TIMEOUT_MS, REDIS_FIRST_WORD_MS } from '../config/timings.ts';

/**
 * Reads what a server sends on a new connection before any command. A Redis that refuses a connection (protected mode, too
 * many clients) sends the reason and closes it, but the client is about to write and often misses the reason.
 * @returns the error without the leading `-`; null if the server sends no error. Never rejects
 */
export function firstWordOf(server: { readonly host: string; readonly port: number }): Promise<string | null> {
  const { promise, resolve } = Promise.withResolvers<string | null>();
  const socket = connect(server);
  let said = '';
  const end = (): void => {
    clearTimeout(timer);
    socket.destroy();
    resolve(/^-([^\r\n]+)\r?\n/.exec(said)?.[1] ?? null);
  };
  let timer = setTimeout(end, REDIS_CONNECT_TIMEOUT_MS);
  socket.on('connect', () => {
    clearTimeout(timer);
    timer = setTimeout(end, REDIS_FIRST_WORD_MS);
  });
  socket.on('data', (bytes) => {
    said += bytes.toString('latin1');
    if (said.includes('\n') || said.length > 1_000) end();
  });
  socket.on('error', end);
  socket.on('close', end);
  return promise;
}
