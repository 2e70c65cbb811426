import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createApp, type AppOptions } from '../../src/http/app.ts';
import { atEndOfFile } from './end-of-file.ts';

export interface ServedApp {
  readonly url: string;
  readonly server: Server;
}

/** Serves an app on a free port of this machine, until the end of the test file. */
export async function serveApp(options: AppOptions): Promise<ServedApp> {
  const handle = createApp(options).callback();
  const server = createServer((request, response) => void handle(request, response));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  atEndOfFile(async () => {
    server.close();
    server.closeAllConnections();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server };
}
