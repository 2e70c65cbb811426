import { spawnSync } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';

export const NAMESPACE = 'scheduler';
export const RELEASE = 'scheduler';

/** Runs a program to its end and returns what it printed; throws with both outputs when it fails. */
export function run(program: string, args: readonly string[], input?: string): string {
  const { status, stdout, stderr, error } = spawnSync(program, args, { encoding: 'utf8', input, maxBuffer: 2 ** 28 });
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: exit code ${status}\n${stdout}${stderr}`);
  return stdout.trim();
}

export function kubectl(...args: string[]): string {
  return run('kubectl', ['--namespace', NAMESPACE, ...args]);
}

export function kubectlJson(...args: string[]): unknown {
  return JSON.parse(kubectl(...args, '--output', 'json'));
}

export function helm(...args: string[]): string {
  return run('helm', [...args, '--namespace', NAMESPACE]);
}

export function selector(component: string): string {
  return `app.kubernetes.io/instance=${RELEASE},app.kubernetes.io/component=${component}`;
}

interface PodList {
  items: {
    metadata: { name: string; deletionTimestamp?: string };
    status: { conditions?: { type: string; status: string }[] };
  }[];
}

/** Names of the pods of a component that are ready and not about to end. */
export function readyPods(component: string): string[] {
  const pods = kubectlJson('get', 'pods', '--selector', selector(component)) as PodList;
  return pods.items
    .filter(({ metadata, status }) => {
      const ready = status.conditions?.some(({ type, status: holds }) => type === 'Ready' && holds === 'True') ?? false;
      return ready && metadata.deletionTimestamp === undefined;
    })
    .map(({ metadata }) => metadata.name);
}

/** Runs SQL in the evaluation PostgreSQL; one line a row, columns separated by `|`. */
export function sql(statement: string): string {
  return kubectl(
    'exec',
    `statefulset/${RELEASE}-postgresql`,
    '--',
    'psql',
    '-U',
    'scheduler',
    '-d',
    'scheduler',
    '-Atc',
    statement,
  );
}

/** Waits until `probe` holds; looks twice a second, and says what it waited for when time is up. */
export async function until(what: string, seconds: number, probe: () => boolean | Promise<boolean>): Promise<number> {
  const startedMs = performance.now();
  for (;;) {
    let problem: unknown;
    try {
      if (await probe()) return (performance.now() - startedMs) / 1_000;
    } catch (error) {
      problem = error;
    }
    if (performance.now() - startedMs > seconds * 1_000) {
      throw new Error(`not within ${seconds} s: ${what}`, { cause: problem });
    }
    await delay(500);
  }
}
