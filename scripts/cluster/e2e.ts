import { runPlan, type Step } from './step.ts';
import { autoscaling, replicasDoNotAddUp } from './steps/autoscaling.ts';
import { documented } from './steps/documented.ts';
import { install, uninstall } from './steps/installation.ts';
import { keda } from './steps/keda.ts';
import { kubernetesJob } from './steps/kubernetes-job.ts';
import { nodeDrained, workerKilledBetweenRuns, workerKilledDuringRun } from './steps/lost-pods.ts';
import { hungReclaimer, suspendedReclaimer, twoReclaimers } from './steps/reclaimer.ts';
import { postgresqlRestarted, redisDeleted } from './steps/stores.ts';
import { upgradeUnderLoad, wrongSetting } from './steps/upgrade.ts';
import { everyValuesFile } from './steps/values.ts';

/** Steps that need more of the cluster than the others, and the variable that says that it is there. */
const asked = (variable: string, step: Step): readonly Step[] => (process.env[variable] === undefined ? [] : [step]);

// Proves on a cluster what the chart promises; see `scripts/e2e`.
const passed = await runPlan(
  {
    install,
    // The CronJob is suspended from `worker-between-runs` on, so that `suspended` need not wait for its alert.
    steps: [
      everyValuesFile,
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
