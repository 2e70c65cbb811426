import { spawnSync } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';

/** A separate namespace, so that the tests do not touch an existing installation. */
export const NAMESPACE = 'scheduler-e2e';
export const RELEASE = 'scheduler';

/** Runs a program and returns its standard output. @throws Error with both outputs if it fails */
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

export function apply(object: object): void {
  run('kubectl', ['apply', '--filename', '-'], JSON.stringify(object));
}

export function helm(...args: string[]): string {
  return run('helm', [...args, '--namespace', NAMESPACE]);
}

export function selector(component: string): string {
  return `app.kubernetes.io/instance=${RELEASE},app.kubernetes.io/component=${component}`;
}

export interface Pod {
  readonly metadata: {
    readonly name: string;
    readonly uid: string;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly deletionTimestamp?: string;
  };
  readonly spec: { readonly nodeName?: string; readonly containers: readonly { readonly image: string }[] };
  readonly status: {
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
    readonly containerStatuses?: readonly { readonly restartCount: number }[];
  };
}

export function podsOf(component: string): Pod[] {
  return (kubectlJson('get', 'pods', '--selector', selector(component)) as { items: Pod[] }).items;
}

/** Returns the names of a component's pods that are ready and are not being deleted. */
export function readyPods(component: string): string[] {
  return podsOf(component)
    .filter((pod) => isReady(pod) && stays(pod))
    .map(({ metadata }) => metadata.name);
}

export function isReady({ status }: Pod): boolean {
  return status.conditions?.some(({ type, status: holds }) => type === 'Ready' && holds === 'True') ?? false;
}

/** Tells whether the pod is not being deleted. */
export function stays({ metadata }: Pod): boolean {
  return metadata.deletionTimestamp === undefined;
}

/** Runs SQL in the evaluation PostgreSQL. The result has one line per row, with columns separated by `|`. */
export function sql(statement: string): string {
  const psql = ['psql', '-U', 'scheduler', '-d', 'scheduler', '-v', 'ON_ERROR_STOP=1', '-qAt', '-f', '-'];
  // Pass the statement on standard input, because a list of thousands of ids is too long for an argument.
  const inPod = ['exec', '--stdin', `statefulset/${RELEASE}-postgresql`, '--', ...psql];
  return run('kubectl', ['--namespace', NAMESPACE, ...inPod], statement);
}

/**
 * Waits until `probe` returns true.
 * @returns how long it took, in seconds
 * @throws Error that names `what` after the timeout
 */
export async function until(
  what: string,
  seconds: number,
  probe: () => boolean | Promise<boolean>,
  pauseMs = 500,
): Promise<number> {
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
    await delay(pauseMs);
  }
}

export function equal(given: unknown, expected: unknown, what: string): void {
  const [text, wanted] = [JSON.stringify(given), JSON.stringify(expected)];
  if (text !== wanted) throw new Error(`${what}: expected ${wanted}, got ${text}`);
}

export function atLeast(given: number, least: number, what: string): void {
  if (!(given >= least)) throw new Error(`${what}: expected at least ${least}, got ${given}`);
}

export function atMost(given: number, most: number, what: string): void {
  if (!(given <= most)) throw new Error(`${what}: expected at most ${most}, got ${given}`);
}
