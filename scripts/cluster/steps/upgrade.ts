import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { equal, NAMESPACE, podsOf, readyPods, RELEASE, sql, until } from '../cluster.ts';
import { type LoadReport, startLoad } from '../load.ts';
import { NEXT_IMAGE, releaseArguments } from '../release.ts';
import type { Step } from '../step.ts';
import { completedOf, drained } from '../tasks.ts';

const REQUESTS_PER_SECOND = 100;

export const upgradeUnderLoad: Step = {
  name: 'upgrade',
  promise: `new image, migration and setting under ${REQUESTS_PER_SECOND} requests a second: none fails, no task is lost`,
  async body(api) {
    if (!api.direct) throw new Error('needs the address of the Service: a forwarded port ends with its pod');
    const load = startLoad(api, REQUESTS_PER_SECOND, { payload: { upgrade: true }, execution_time: 0.01 });
    let looks: readonly Look[];
    let report: LoadReport;
    try {
      looks = await upgrade();
    } finally {
      report = await load.stop();
    }
    const { accepted, failures, slowestMs } = report;
    equal(
      failures.slice(0, 5),
      [],
      `${failures.length} of ${accepted.length + failures.length} requests failed, such as`,
    );
    await drained(120);
    equal(completedOf(accepted), accepted.length, 'accepted tasks that are COMPLETED');
    equal(sql("SELECT count(*) FROM migrations WHERE name = '9999-next'"), '1', 'the new migration');
    equal(Math.max(...looks.map(({ images }) => images)), 2, 'versions side by side');
    equal(Math.min(...looks.map(({ ready }) => ready)) >= 2, true, 'two API pods are ready at any time');
    return `${accepted.length} requests, 0 failed, the slowest ${slowestMs.toFixed(0)} ms`;
  },
};

/** The API's pods at one moment of the upgrade. */
interface Look {
  readonly images: number;
  readonly ready: number;
}

async function upgrade(): Promise<readonly Look[]> {
  const settings = ['config.LOG_LEVEL=debug'];
  const command = ['upgrade', RELEASE, 'charts/scheduler', ...releaseArguments(NEXT_IMAGE, settings)];
  const options = ['--namespace', NAMESPACE, '--wait', '--timeout', '5m'];
  const helm = spawn('helm', [...command, ...options], { stdio: ['ignore', 'ignore', 'inherit'] });
  const ended = once(helm, 'close') as Promise<[number]>;
  const looks: Look[] = [];
  await until(
    'helm upgrade has ended',
    330,
    () => {
      const images = new Set(podsOf('api').map(({ spec }) => spec.containers[0]?.image));
      looks.push({ images: images.size, ready: readyPods('api').length });
      return helm.exitCode !== null;
    },
    1_000,
  );
  const [code] = await ended;
  equal(code, 0, 'exit code of helm upgrade');
  return looks;
}
