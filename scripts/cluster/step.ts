import { parseArgs } from 'node:util';
import { type Api, openApi } from './api.ts';
import { equal, kubectl, NAMESPACE, RELEASE, run, selector } from './cluster.ts';
import { endLoads } from './load.ts';
import { cancelOpen } from './tasks.ts';

/** A promise of the chart, and a test of it on the cluster. */
export interface Step {
  readonly name: string;
  readonly promise: string;
  /** Resolves to the observations for the report. */
  readonly body: (api: Api) => Promise<string>;
}

export interface Plan {
  readonly install: Step;
  readonly steps: readonly Step[];
  readonly uninstall: Step;
}

const USAGE = `e2e [--only NAME,NAME] [--keep] [--list]
  --only  runs only these steps; installs the release first if it is not installed
  --keep  leaves the release installed
  --list  lists the steps`;

/** Runs the steps of the command line. The last line is "N passed, N failed". Returns whether all steps passed. */
export async function runPlan(plan: Plan, args: readonly string[]): Promise<boolean> {
  const { only, keep, list } = readArguments(plan, args);
  if (list) {
    for (const { name, promise } of allSteps(plan)) console.log(`${name.padEnd(22)} ${promise}`);
    return true;
  }
  console.log(`cluster: ${run('kubectl', ['config', 'current-context'])}; namespace: ${NAMESPACE}`);

  const chosen = plan.steps.filter(({ name }) => only === undefined || only.includes(name));
  const count = { passed: 0, failed: 0 };
  const noApi: Api = { url: '', secret: '', direct: false, close() {} };
  if (!isInstalled() || only?.includes(plan.install.name) === true) await runStep(plan.install, noApi, count);
  if (count.failed === 0 && chosen.length > 0) {
    const api = await openApi();
    for (const step of chosen) {
      // Open tasks of a failed step must not make the next step fail.
      if (await runStep(step, api, count)) continue;
      await endLoads();
      await cancelOpen(api).catch(console.log);
    }
    api.close();
  }
  if (!keep) await runStep(plan.uninstall, noApi, count);
  console.log(`${count.passed} passed, ${count.failed} failed`);
  return count.failed === 0;
}

function allSteps({ install, steps, uninstall }: Plan): readonly Step[] {
  return [install, ...steps, uninstall];
}

function readArguments(
  plan: Plan,
  args: readonly string[],
): { only: string[] | undefined; keep: boolean; list: boolean } {
  const options = {
    only: { type: 'string' },
    keep: { type: 'boolean', default: false },
    list: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  } as const;
  const { values } = parseArgs({ args: [...args], options });
  if (values.help) {
    console.log(USAGE);
    return { only: undefined, keep: true, list: true };
  }
  const only = values.only?.split(',');
  const names = allSteps(plan).map(({ name }) => name);
  const unknown = only?.filter((name) => !names.includes(name)) ?? [];
  equal(unknown, [], `unknown steps (known: ${names.join(', ')})`);
  return { only, keep: values.keep, list: values.list };
}

function isInstalled(): boolean {
  return run('helm', ['list', '--namespace', NAMESPACE, '--filter', `^${RELEASE}$`, '--short']) !== '';
}

/** Returns what a reader needs who cannot look at the cluster: pods, runs, recent warnings, the reclaimer's last words. */
function situation(): string {
  const look = (...args: string[]): string => {
    try {
      return kubectl(...args);
    } catch (error) {
      return String(error);
    }
  };
  const reclaimer = ['--selector', selector('reclaimer')];
  return [
    look('get', 'pods,jobs', '--output', 'wide'),
    look('get', 'events', '--field-selector', 'type=Warning', '--sort-by', '.lastTimestamp').split('\n').slice(-20),
    look('logs', ...reclaimer, '--prefix', '--tail', '5', '--ignore-errors', '--max-log-requests', '20'),
  ]
    .flat()
    .join('\n');
}

async function runStep(
  { name, promise, body }: Step,
  api: Api,
  count: { passed: number; failed: number },
): Promise<boolean> {
  const startedMs = performance.now();
  const seconds = (): string => `${((performance.now() - startedMs) / 1_000).toFixed(0)} s`;
  try {
    const seen = await body(api);
    count.passed++;
    console.log(`ok    ${name}: ${promise} (${seconds()}): ${seen}`);
    return true;
  } catch (error) {
    count.failed++;
    console.log(`FAIL  ${name}: ${promise} (${seconds()})`);
    console.log(error);
    console.log(situation());
    return false;
  }
}
