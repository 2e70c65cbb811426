import { runPlan, type Step } from './step.ts';
import { autoscaling, replicasDoNotAddUp } from './steps/autoscaling.ts';
import { documented } from './steps/documented.ts';
import { install, uninstall } from './steps/installation.ts';
import { keda } from './steps/keda.ts';
import { keys } from './steps/keys.ts';
import { kubernetesJob } from './steps/kubernetes-job.ts';
import { nodeDrained, workerKilledBetweenRuns, workerKilledDuringRun } from './steps/lost-pods.ts';
import { hungReclaimer, suspendedReclaimer, twoReclaimers } from './steps/reclaimer.ts';
import { postgresqlRestarted, redisDeleted } from './steps/stores.ts';
import { upgradeUnderLoad, wrongSetting } from './steps/upgrade.ts';
import { everyValuesFile } from './steps/values.ts';

/** Includes a step only if its environment variable is set, because the step has additional requirements. */
const asked = (variable: string, step: Step): readonly Step[] => (process.env[variable] === undefined ? [] : [step]);

// Tests the promises of the chart on a cluster; see `scripts/e2e`.
const passed = await runPlan(
  {
    install,
    // `worker-between-runs` suspends the CronJob, so that `suspended` does not have to wait for its alert.
    steps: [
      everyValuesFile,
      keys,
      upgradeUnderLoad,
      wrongSetting,
      workerKilledDuringRun,
      twoReclaimers,
      hungReclaimer,
      workerKilledBetweenRuns,
      kubernetesJob,
      autoscaling,
      redisDeleted,
      postgresqlRestarted,
      suspendedReclaimer,
      replicasDoNotAddUp,
      ...asked('E2E_KEDA', keda),
      nodeDrained,
      ...asked('E2E_DOCUMENTED', documented),
    ],
    uninstall,
  },
  process.argv.slice(2),
);
process.exitCode = passed ? 0 : 1;
