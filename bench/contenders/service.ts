import { join } from 'node:path';
import type { Arena, Service } from '../contender.ts';
import { TEXT, type Note } from '../note.ts';
import { startProcess, type BenchProcess } from '../processes.ts';

export interface RunningService {
  readonly service: Service;
  readonly process: BenchProcess;
}

/** Starts a program that serves HTTP and prints its address first. */
export async function startServer(
  { directory }: Pick<Arena, 'directory'>,
  program: string,
  env: Readonly<Record<string, string>>,
): Promise<{ readonly url: URL; readonly process: BenchProcess }> {
  const server = await startProcess({
    command: [process.execPath, join(import.meta.dirname, '..', program)],
    // Koa behaves differently without this, and so would everybody's service.
    env: { ...env, NODE_ENV: 'production' },
    isReady: (line) => line.startsWith('{'),
    log: join(directory, 'services.log'),
  });
  const { port } = JSON.parse(server.ready) as { port: number };
  return { url: new URL(`http://127.0.0.1:${port}`), process: server };
}

/** Starts the service that submits to a peer: a file in `services`. */
export async function startPeerService(
  arena: Arena,
  name: string,
  env: Readonly<Record<string, string>>,
): Promise<RunningService> {
  const { url, process: started } = await startServer(arena, join('services', `${name}.ts`), env);
  const body = (n: number): string => JSON.stringify({ n, sleep_ms: 0, text: TEXT } satisfies Note);
  return { service: { url, path: '/', pid: started.pid, body }, process: started };
}
