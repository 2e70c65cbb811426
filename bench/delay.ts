import { once } from 'node:events';
import { connect, createServer } from 'node:net';

/**
 * A TCP relay to a server on loopback that holds every answer back, run as a process of its own: `delay.ts <port> <ms>`.
 * All of the round trip's delay lies on the way back, since a timer of Node.js counts whole milliseconds.
 */
const [target, delayMs] = process.argv.slice(2).map(Number) as [number, number];

const server = createServer({ noDelay: true }, (client) => {
  const upstream = connect({ host: '127.0.0.1', port: target, noDelay: true });
  client.on('data', (bytes) => upstream.write(bytes));
  // Timers of the same length fire in the order in which they were set.
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
