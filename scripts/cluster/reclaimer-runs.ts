import { kubectl, kubectlJson, podsOf, RELEASE, sql, until } from './cluster.ts';

export interface Job {
  readonly metadata: { readonly name: string };
  readonly status: {
    readonly conditions?: readonly { readonly type: string; readonly reason?: string; readonly status: string }[];
  };
}

export function jobOf(name: string): Job {
  return kubectlJson('get', 'job', name) as Job;
}

export function startRun(name: string): void {
  kubectl('create', 'job', name, `--from=cronjob/${RELEASE}-reclaimer`);
}

export function deleteRun(name: string): void {
  kubectl('delete', 'job', name, '--ignore-not-found', '--cascade=foreground');
}

export function setSuspended(suspend: boolean): void {
  kubectl('patch', 'cronjob', `${RELEASE}-reclaimer`, '--patch', JSON.stringify({ spec: { suspend } }));
}

/** Suspends the CronJob and deletes the runs that it has started. */
export async function suspendCronJob(): Promise<void> {
  setSuspended(true);
  kubectl('delete', 'jobs', '--selector', 'app.kubernetes.io/component=reclaimer', '--cascade=foreground');
  await until('no run of the reclaimer', 30, () => podsOf('reclaimer').length === 0);
}

/** Starts a run of the CronJob, as its schedule would, and returns when it sweeps. The run then sweeps for 45 s more. */
export async function sweepNow(): Promise<void> {
  const passes = passesOfReclaimer();
  deleteRun('e2e-sweep');
  startRun('e2e-sweep');
  await until(
    'a run of the CronJob sweeps',
    40,
    () => podsOf('reclaimer').length > 0 && passesOfReclaimer() > passes + 1,
  );
}

export function passesOfReclaimer(): number {
  return Number(sql('SELECT passes_by_reclaimer FROM sweeper'));
}
