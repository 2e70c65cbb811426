import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { run } from '../cluster.ts';
import { commandsOfNotes, documentedCommands } from '../documented-commands.ts';
import { STORES_BY_TAG } from '../release.ts';
import type { Step } from '../step.ts';

/** The namespace that the documents use. It differs from the namespace of the other steps. */
const NAMESPACE = 'scheduler';
const IN_NAMESPACE = ['--namespace', NAMESPACE];

export const documented: Step = {
  name: 'documented',
  promise: 'the commands in README, docs and the notes of an installation work unchanged, line by line',
  async body() {
    if (run('kubectl', ['get', 'namespace', NAMESPACE, '--ignore-not-found', '--output=name']) !== '')
      throw new Error(`the namespace ${NAMESPACE} already exists, and this step would delete it`);
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

/** Returns all lists of commands. Each list is for a separate installation. */
function allLists(): Map<string, string> {
  const lists = new Map<string, string>();
  for (const path of ['README.md', 'docs/kubernetes.md', 'charts/scheduler/README.md'])
    for (const [name, commands] of documentedCommands(readFileSync(path, 'utf8'))) {
      // Run a list only once if two documents contain it.
      if (![...lists.values()].includes(commands)) lists.set(name, commands);
    }
  const evaluation = lists.get('evaluation') ?? '';
  lists.set('notes', evaluation.slice(0, evaluation.indexOf('helm test')));
  return lists;
}

/**
 * Makes programs `docker` and `kind` that do nothing, because the cluster and its images already exist. Where the images
 * of the stores have only tags, `helm` is told so.
 * @returns their directory, for PATH
 */
function pretendedPrograms(): string {
  const directory = mkdtempSync(join(tmpdir(), 'documented-'));
  for (const name of ['docker', 'kind']) {
    writeFileSync(join(directory, name), '#!/bin/sh\n');
    chmodSync(join(directory, name), 0o755);
  }
  if (process.env['E2E_IMAGES_BY_TAG'] === 'true') {
    const helm = run('sh', ['-c', 'command -v helm']);
    const more = STORES_BY_TAG.map((setting) => `--set ${setting}`).join(' ');
    const script = `#!/bin/sh\ncase "$*" in *charts/scheduler*) exec ${helm} "$@" ${more} ;; esac\nexec ${helm} "$@"\n`;
    writeFileSync(join(directory, 'helm'), script);
    chmodSync(join(directory, 'helm'), 0o755);
  }
  return directory;
}

/** Forwards port 8000 of this machine to port 30080 of a node, as kind does with kind-config.yaml. */
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

/** Runs commands in a shell, as if they were pasted. The first failing command ends the shell. */
async function paste(name: string, commands: string, programs: string): Promise<void> {
  const shell = spawn('bash', ['-e', '-o', 'pipefail', '-c', commands], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, PATH: `${programs}:${process.env['PATH']}` },
    // A separate process group, so that background processes of the shell can be ended.
    detached: true,
  });
  const outputs = Promise.all([text(shell.stdout), text(shell.stderr)]);
  const [code] = (await once(shell, 'exit')) as [number | null];
  try {
    process.kill(-shell.pid!, 'SIGTERM');
  } catch {
    // No process of the group is left.
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
