import { spawn, type ChildProcess } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { isAlive, processTree, signalAll } from './process-tree.ts';
import { asAccount, boundToParent, type Account } from './unprivileged.ts';

/** A private PostgreSQL or Redis on loopback. It ends with the process that started it. */
export interface PrivateServer {
  readonly url: string;
  readonly port: number;
  /** Id of the current process. It changes with `restart()`. */
  readonly pid: number;
  readonly dataDirectory: string;
  /** Stops the server cleanly and keeps its data. Does nothing if the server does not run. */
  stop(): Promise<void>;
  /** Sends SIGKILL to the server and all its children, like a power cut. The data stays as it is. */
  kill(): Promise<void>;
  /** Stops the server cleanly if it runs, and starts it on the same port and data. Resolves when it answers. */
  restart(): Promise<void>;
  /** Sends SIGSTOP to the server and all its children. Connections stay open, but get no answers. */
  pause(): void;
  resume(): void;
  /** Stops the server cleanly and deletes its data. */
  remove(): Promise<void>;
}

export interface ServerRecipe {
  readonly name: string;
  /** Directory of all files of this server. `remove()` deletes it. */
  readonly directory: string;
  readonly dataDirectory: string;
  readonly logFile: string;
  readonly stopSignal: NodeJS.Signals;
  /** With 0, the server gets a free port. */
  readonly port: number;
  readonly command: (port: number) => readonly string[];
  /** Account of the server; null for the caller's account. */
  readonly account: Account | null;
  readonly url: (port: number) => string;
  /** Rejects while the server does not answer. */
  readonly probe: (url: string) => Promise<unknown>;
}

const START_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 15_000;
const POLL_MS = 25;
const PORT_ATTEMPTS = 5;

/** Starts a server and resolves when it answers. */
export async function runPrivateServer(recipe: ServerRecipe): Promise<PrivateServer> {
  let port = recipe.port;
  let child: ChildProcess | undefined;
  let stopped: number[] = [];

  const endWithUs = (): void => {
    resume();
    child?.kill(recipe.stopSignal);
  };

  const start = async (): Promise<void> => {
    // For systems on which the parent's death does not send a signal to the child.
    process.off('exit', endWithUs).on('exit', endWithUs);
    child = spawnServer(recipe, port);
    await answered(recipe, port, child);
  };

  const resume = (): void => {
    signalAll(stopped, 'SIGCONT');
    stopped = [];
  };

  const stop = async (): Promise<void> => {
    resume();
    const running = child;
    child = undefined;
    process.off('exit', endWithUs);
    if (running === undefined || hasEnded(running)) return;
    running.kill(recipe.stopSignal);
    const inTime = await Promise.race([
      once(running, 'exit').then(() => true),
      delay(STOP_TIMEOUT_MS, false, { ref: false }),
    ]);
    if (!inTime) await killTree(running);
  };

  for (let attempt = 1; ; attempt++) {
    port = recipe.port === 0 ? await freePort() : recipe.port;
    try {
      await start();
      break;
    } catch (error) {
      // Another process may have taken the port after it was chosen.
      const taken = /address already in use/i.test(String(error));
      if (child !== undefined) await killTree(child);
      if (!taken || recipe.port !== 0 || attempt === PORT_ATTEMPTS) throw error;
    }
  }

  return {
    get url() {
      return recipe.url(port);
    },
    get port() {
      return port;
    },
    get pid() {
      if (child?.pid === undefined) throw new Error(`${recipe.name} does not run`);
      return child.pid;
    },
    dataDirectory: recipe.dataDirectory,
    stop,
    async kill() {
      const running = child;
      child = undefined;
      stopped = [];
      if (running !== undefined) await killTree(running);
    },
    async restart() {
      await stop();
      await start();
    },
    pause() {
      if (child?.pid === undefined) throw new Error(`${recipe.name} does not run`);
      // Stop the parent first, so that it cannot start further children while the list is made.
      process.kill(child.pid, 'SIGSTOP');
      stopped = processTree(child.pid);
      signalAll(stopped, 'SIGSTOP');
    },
    resume,
    async remove() {
      await stop();
      rmSync(recipe.directory, { recursive: true, force: true });
    },
  };
}

function spawnServer(recipe: ServerRecipe, port: number): ChildProcess {
  // setpriv has to bind the command after the change of account, because the change clears the parent-death signal.
  const command = asAccount(boundToParent(recipe.command(port), 'INT'), recipe.account);
  const [program, ...args] = command as [string, ...string[]];
  const log = openSync(recipe.logFile, 'a');
  try {
    // A separate session keeps Ctrl-C of the terminal away from the server. It has to stop last, not first.
    const child = spawn(program, args, { cwd: recipe.directory, detached: true, stdio: ['ignore', log, log] });
    child.on('error', () => {});
    return child;
  } finally {
    closeSync(log);
  }
}

async function answered(recipe: ServerRecipe, port: number, child: ChildProcess): Promise<void> {
  const deadline = performance.now() + START_TIMEOUT_MS;
  for (;;) {
    if (child.pid === undefined || hasEnded(child))
      throw new Error(`${recipe.name} did not start:\n${tail(recipe.logFile)}`);
    try {
      await recipe.probe(recipe.url(port));
      return;
    } catch (error) {
      if (performance.now() > deadline) {
        throw new Error(`${recipe.name} does not answer after ${START_TIMEOUT_MS} ms:\n${tail(recipe.logFile)}`, {
          cause: error,
        });
      }
    }
    await delay(POLL_MS);
  }
}

async function killTree(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || hasEnded(child)) return;
  const exited = once(child, 'exit');
  process.kill(child.pid, 'SIGSTOP');
  const tree = processTree(child.pid);
  signalAll(tree, 'SIGKILL');
  await exited;
  // While orphaned processes still use the shared memory, a new server would refuse to start.
  while (tree.some(isAlive)) await delay(POLL_MS);
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

/** Use ports below the ephemeral range. An outgoing connection could take an ephemeral port before the server starts. */
const [PORT_MIN, PORT_MAX] = [20_000, 32_767];

/** Returns a TCP port of the loopback address that is free at the moment. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(PORT_MIN, PORT_MAX + 1);
    if (await isFree(port)) return port;
  }
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  try {
    await once(server.listen(port, '127.0.0.1'), 'listening');
  } catch {
    return false;
  }
  server.close();
  await once(server, 'close');
  return true;
}

function tail(path: string): string {
  try {
    return readFileSync(path, 'utf8').split('\n').slice(-20).join('\n');
  } catch {
    return '(no log)';
  }
}
