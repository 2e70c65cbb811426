import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  atLeast,
  equal,
  helm,
  isReady,
  kubectl,
  NAMESPACE,
  type Pod,
  podsOf,
  readyPods,
  RELEASE,
  sql,
  stays,
  until,
} from '../cluster.ts';
import { type LoadReport, startLoad } from '../load.ts';
import { IMAGE, NEXT_IMAGE, releaseArguments } from '../release.ts';
import type { Step } from '../step.ts';
import { completedOf, drained } from '../tasks.ts';

const REQUESTS_PER_SECOND = 100;

export const upgradeUnderLoad: Step = {
  name: 'upgrade',
  promise: `during an upgrade of chart, image, schema and settings under ${REQUESTS_PER_SECOND} requests a second, no request fails, no task is lost, and the pods of the stores stay`,
  async body(api) {
    if (!api.direct) throw new Error('needs the address of the Service, because a forwarded port ends with its pod');
    const load = startLoad(api, REQUESTS_PER_SECOND, { payload: { upgrade: true }, execution_time: 0.01 });
    const chart = nextChart();
    const stores = uidsOf('postgresql', 'redis');
    let looks: readonly Look[];
    let report: LoadReport;
    try {
      const [pods, made] = [uidsOf('api'), replicaSets()];
      // Change only the chart's version. The pods' programs and inputs stay the same.
      await upgrade(chart, releaseArguments(IMAGE));
      equal(uidsOf('api'), pods, 'pods of the API after another version of the chart');
      equal(replicaSets(), made, 'ReplicaSets of API and workers after another version of the chart');
      looks = await upgrade(chart, releaseArguments(NEXT_IMAGE, ['config.LOG_LEVEL=debug']));
    } finally {
      report = await load.stop();
      rmSync(chart, { recursive: true });
    }
    const { accepted, slowestMs } = report;
    noneFailed(report);
    equal(uidsOf('postgresql', 'redis'), stores, 'pods of the stores');
    await drained(120);
    equal(completedOf(accepted), accepted.length, 'accepted tasks that are COMPLETED');
    equal(sql("SELECT count(*) FROM migrations WHERE name = '9999-next'"), '1', 'the new migration');
    equal(Math.max(...looks.map(({ images }) => images)), 2, 'versions that run at the same time');
    atLeast(Math.min(...looks.map(({ kept }) => kept)), 2, 'API pods that the rollout keeps at any time');
    atLeast(Math.min(...looks.map(({ ready }) => ready)), 2, 'API pods that are ready at any time');
    return `${accepted.length} requests, 0 failed, the slowest ${slowestMs.toFixed(0)} ms`;
  },
};

/** The API's pods at one moment of the upgrade. */
interface Look {
  readonly images: number;
  readonly ready: number;
  /** Pods that have been ready and are not about to end: fewer than before means that the rollout took one away too early. */
  readonly kept: number;
}

/** Copies the chart to a new directory and gives it another version. */
function nextChart(): string {
  const directory = mkdtempSync(join(tmpdir(), 'next-chart-'));
  cpSync('charts/scheduler', directory, { recursive: true });
  const file = join(directory, 'Chart.yaml');
  const text = readFileSync(file, 'utf8');
  const next = text.replace(/^version: .*$/m, 'version: 0.99.0').replace(/^appVersion: .*$/m, 'appVersion: "0.99.0"');
  equal(next.match(/0\.99\.0/g)?.length, 2, 'versions that were changed in Chart.yaml');
  writeFileSync(file, next);
  return directory;
}

function uidsOf(...components: readonly string[]): string[] {
  return components.flatMap((component) => podsOf(component).map(({ metadata }) => metadata.uid)).toSorted();
}

/** Returns the ReplicaSets of API and workers, from the pods' names. The autoscaler may change the number of pods. */
function replicaSets(): string[] {
  const names = ['api', 'worker'].flatMap(podsOf).map(({ metadata }) => metadata.name.replace(/-[^-]+$/, ''));
  return [...new Set(names)].toSorted();
}

function noneFailed({ accepted, failures }: LoadReport): void {
  equal(
    failures.slice(0, 5),
    [],
    `${failures.length} of ${accepted.length + failures.length} requests failed, such as`,
  );
}

async function upgrade(chart: string, values: readonly string[]): Promise<readonly Look[]> {
  const command = ['upgrade', RELEASE, chart, ...values];
  const options = ['--namespace', NAMESPACE, '--wait', '--timeout', '5m'];
  const upgrading = spawn('helm', [...command, ...options], { stdio: ['ignore', 'ignore', 'inherit'] });
  const ended = once(upgrading, 'close') as Promise<[number]>;
  const looks: Look[] = [];
  const haveBeenReady = new Set<string>();
  await until(
    'helm upgrade has ended',
    330,
    () => {
      // Query the pods only once, because a pod may be replaced between two queries.
      const pods = podsOf('api');
      for (const { metadata } of pods.filter(isReady)) haveBeenReady.add(metadata.name);
      const images = new Set(pods.map(({ spec }) => spec.containers[0]?.image));
      const kept = pods.filter((pod) => stays(pod) && haveBeenReady.has(pod.metadata.name));
      const ready = pods.filter((pod) => isReady(pod) && stays(pod));
      looks.push({ images: images.size, ready: ready.length, kept: kept.length });
      return upgrading.exitCode !== null;
    },
    1_000,
  );
  const [code] = await ended;
  equal(code, 0, 'exit code of helm upgrade');
  return looks;
}

export const wrongSetting: Step = {
  name: 'wrong-setting',
  promise: 'a setting that the processes refuse stops the rollout; running pods and their replacements keep working',
  async body(api) {
    const [first, ...others] = readyPods('api');
    if (first === undefined || others.length === 0) throw new Error('needs two API pods that are ready');
    const load = startLoad(api, 20, { payload: { wrongSetting: true }, execution_time: 0.01 });
    let report: LoadReport;
    try {
      const setting = ['--set', 'extraEnv[0].name=LOST_CAP', '--set-string', 'extraEnv[0].value=many'];
      helm('upgrade', RELEASE, 'charts/scheduler', '--reuse-values', '--force-conflicts', ...setting);
      await until('a new pod crashes because of it', 120, () => podsOf('api').some(hasCrashed), 1_000);
      kubectl('delete', 'pod', first);
      await until(
        'another pod is ready in its place',
        120,
        () => readyPods('api').filter((name) => name !== first).length >= 2,
      );
      equal(podsOf('api').filter(hasCrashed).length > 0, true, 'the wrong setting is still there');
    } finally {
      helm('rollback', RELEASE, '--wait', '--timeout', '3m');
      report = await load.stop();
    }
    noneFailed(report);
    await drained(60);
    return `${report.accepted.length} requests, 0 failed`;
  },
};

function hasCrashed({ status }: Pod): boolean {
  return status.containerStatuses?.some(({ restartCount }) => restartCount > 0) ?? false;
}
