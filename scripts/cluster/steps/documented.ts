import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { run } from '../cluster.ts';
import { commandsOfNotes, documentedCommands } from '../documented-commands.ts';
import type { Step } from '../step.ts';

/** Where the documents install: not the namespace of the other steps. */
const NAMESPACE = 'scheduler';
const IN_NAMESPACE = ['--namespace', NAMESPACE];

export const documented: Step = {
  name: 'documented',
  promise: 'what README, docs and the notes of an installation ask to paste works as it stands, line after line',
  async body() {
    if (run('kubectl', ['get', 'namespace', NAMESPACE, '--ignore-not-found', '--output=name']) !== '')
      throw new Error(`the namespace ${NAMESPACE} is there already; this step would remove it`);
    const seconds: string[] = [];
    const programs = pretendedPrograms();
    try {
      for (const [name, commands] of allLists()) {
        const startedMs = performance.now();
        const port = commands.includes('values-kind') ? await openPortOfKind() : null;
        try {
          await paste(name, commands, programs);
          if (name === 'notes')
            await paste(
              'notes',
              commandsOfNotes(run('helm', ['get', 'notes', 'scheduler', ...IN_NAMESPACE])),
              programs,
            );
        } finally {
          port?.close();
          remove();
        }
        seconds.push(`${name} in ${((performance.now() - startedMs) / 1_000).toFixed(0)} s`);
      }
    } finally {
      rmSync(programs, { recursive: true });
    }
    return seconds.join(', ');
  },
};

/** Each is for an installation of its own. */
function allLists(): Map<string, string> {
  const lists = new Map<string, string>();
  for (const path of ['README.md', 'docs/kubernetes.md', 'charts/scheduler/README.md'])
    for (const [name, commands] of documentedCommands(readFileSync(path, 'utf8'))) {
      // The same in two documents is run once.
      if (![...lists.values()].includes(commands)) lists.set(name, commands);
    }
  const evaluation = lists.get('evaluation') ?? '';
  lists.set('notes', evaluation.slice(0, evaluation.indexOf('helm test')));
  return lists;
}

/** The cluster and its images are there already: `kind` and `docker` have nothing to do. Returns a directory for PATH. */
function pretendedPrograms(): string {
  const directory = mkdtempSync(join(tmpdir(), 'documented-'));
  for (const name of ['docker', 'kind']) {
    writeFileSync(join(directory, name), '#!/bin/sh\n');
    chmodSync(join(directory, name), 0o755);
  }
  return directory;
}

/** Does what `kind create cluster --config kind-config.yaml` does: leads port 8000 of this machine to port 30080 of a node. */
async function openPortOfKind(): Promise<{ close(): void }> {
  const path = 'jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}';
  const host = run('kubectl', ['get', 'nodes', '--output', path]);
  const server = createServer((client) => {
    const node = connect(30_080, host);
    client.on('error', () => node.destroy());
    node.on('error', () => client.destroy());
    client.pipe(node).pipe(client);
  });
  server.listen(8_000, '127.0.0.1');
  await once(server, 'listening');
  return { close: () => void server.close() };
}

/** Runs commands as a shell that they are pasted into; the first one that fails ends it. */
async function paste(name: string, commands: string, programs: string): Promise<void> {
  const shell = spawn('bash', ['-e', '-o', 'pipefail', '-c', commands], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, PATH: `${programs}:${process.env['PATH']}` },
    // A group of its own, so that what it left in the background can be ended.
    detached: true,
  });
  const outputs = Promise.all([text(shell.stdout), text(shell.stderr)]);
  const [code] = (await once(shell, 'exit')) as [number | null];
  try {
    process.kill(-shell.pid!, 'SIGTERM');
  } catch {
    // Nothing is left of it.
  }
  const output = (await outputs).join('');
  if (code !== 0) throw new Error(`list "${name}" ended with ${code}:\n${commands}\n${output}`);
  const tests = commands.includes('helm test');
  if (tests && !/Phase: +Succeeded/.test(output))
    throw new Error(`list "${name}": helm test did not succeed:\n${output}`);
  const submits = commands.includes('/tasks\n');
  if (submits && !/"status":"PENDING"/.test(output))
    throw new Error(`list "${name}": no task was accepted:\n${output}`);
}

function remove(): void {
  run('helm', ['uninstall', 'scheduler', ...IN_NAMESPACE, '--ignore-not-found', '--wait', '--timeout', '3m']);
  run('kubectl', ['delete', 'namespace', NAMESPACE, '--ignore-not-found', '--timeout', '120s']);
}
