import { connect } from 'node:net';
import { REDIS_CONNECT_TIMEOUT_MS, REDIS_FIRST_WORD_MS } from '../config/timings.ts';

/**
 * What a server says to a connection before anything is asked: a Redis that refuses one (protected mode, too many
 * clients) says why and closes it, and the client, which is about to write, often does not read that any more.
 * @returns its error without the leading `-`; null if it says nothing, or nothing of that kind. Never rejects
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
