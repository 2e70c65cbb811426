import { once } from 'node:events';
import { connect, createServer } from 'node:net';

/**
 * A TCP relay to a server on loopback that delays every answer. It runs as a separate process: `delay.ts <port> <ms>`.
 * It adds the whole round trip's delay to the answer, because timers of Node.js count whole milliseconds.
 */
const [target, delayMs] = process.argv.slice(2).map(Number) as [number, number];

const server = createServer({ noDelay: true }, (client) => {
  const upstream = connect({ host: '127.0.0.1', port: target, noDelay: true });
  client.on('data', (bytes) => upstream.write(bytes));
  // This keeps the order of the bytes: timers of the same length fire in the order in which they were set.
  upstream.on('data', (bytes) => setTimeout(() => client.write(bytes), delayMs));
  for (const [side, other] of [
    [client, upstream],
    [upstream, client],
  ] as const) {
    side.on('error', () => other.destroy());
    side.on('end', () => setTimeout(() => other.end(), delayMs));
    side.on('close', () => setTimeout(() => other.destroy(), delayMs));
  }
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');
console.log(JSON.stringify(server.address()));
