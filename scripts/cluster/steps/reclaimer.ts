import { equal, kubectl, RELEASE, run, sql, until } from '../cluster.ts';
import { activeAlerts } from '../monitoring.ts';
import { deleteRun, jobOf, passesOfReclaimer, setSuspended, startRun, suspendCronJob } from '../reclaimer-runs.ts';
import type { Step } from '../step.ts';
import { copies, drained, submitAll } from '../tasks.ts';

export const twoReclaimers: Step = {
  name: 'two-reclaimers',
  promise: 'of two concurrent runs of the reclaimer, one sweeps, both succeed, and no task runs twice',
  async body(api) {
    const lost = lostRuns();
    const names = ['e2e-a', 'e2e-b'];
    for (const name of names) startRun(name);
    await submitAll(api, copies(50, { execution_time: 0.5 }));
    await drained(60);
    for (const name of names) kubectl('wait', '--for=condition=complete', `job/${name}`, '--timeout=120s');
    names.forEach(deleteRun);
    equal(lostRuns(), lost, 'attempts with the outcome LOST');
    return 'both succeeded';
  },
};

export const hungReclaimer: Step = {
  name: 'hung-reclaimer',
  promise: 'the deadline ends a run that hangs, and the next run works',
  async body() {
    setSuspended(true);
    // The process is frozen in the middle of its work, so it neither ends nor reacts to SIGTERM.
    startHung('e2e-hung', 20);
    await until('the deadline has ended it', 60, () => failure('e2e-hung') === 'DeadlineExceeded');
    deleteRun('e2e-hung');
    const passes = passesOfReclaimer();
    setSuspended(false);
    const seconds = await until('the next run sweeps', 90, () => passesOfReclaimer() > passes, 1_000);
    return `the next one swept ${seconds.toFixed(0)} s later`;
  },
};

/** Starts a run from the CronJob's template, with a shorter deadline and a process that is frozen after 3 s. */
function startHung(name: string, deadlineSeconds: number): void {
  const dryRun = ['create', 'job', name, `--from=cronjob/${RELEASE}-reclaimer`, '--dry-run=client', '--output=json'];
  const job = JSON.parse(kubectl(...dryRun)) as {
    spec: {
      activeDeadlineSeconds: number;
      template: { spec: { containers: { command?: string[]; args: string[] }[] } };
    };
  };
  job.spec.activeDeadlineSeconds = deadlineSeconds;
  const [container] = job.spec.template.spec.containers;
  if (container === undefined) throw new Error('the CronJob has no container');
  container.command = ['sh', '-c', 'node dist/main.js reclaimer & sleep 3; kill -STOP $!; wait'];
  container.args = [];
  run('kubectl', ['create', '--filename', '-'], JSON.stringify(job));
}

function failure(name: string): string | undefined {
  return jobOf(name).status.conditions?.find(({ type, status }) => type === 'Failed' && status === 'True')?.reason;
}

export const suspendedReclaimer: Step = {
  name: 'suspended',
  promise: 'while the CronJob is suspended, the workers stand in, and its alert is active',
  async body(api) {
    await suspendCronJob();
    const byWorkers = passesOfWorkers();
    await submitAll(api, copies(20, { execution_time: 0.1 }));
    await drained(60);
    const seconds = await until('the alert', 300, () => activeAlerts().includes('SchedulerReclaimerStale'), 2_000);
    // The alert may be active from earlier steps, so wait for a pass as well.
    await until('workers stand in', 30, () => passesOfWorkers() > byWorkers);
    const passes = passesOfWorkers() - byWorkers;
    equal(activeAlerts().includes('SchedulerSweepStale'), false, 'the alert SchedulerSweepStale is active');
    setSuspended(false);
    return `alert after ${seconds.toFixed(0)} s more, ${passes} passes by workers meanwhile`;
  },
};

function passesOfWorkers(): number {
  return Number(sql('SELECT passes_by_worker FROM sweeper'));
}

function lostRuns(): string {
  return sql("SELECT count(*) FROM execution_logs WHERE outcome = 'LOST'");
}
