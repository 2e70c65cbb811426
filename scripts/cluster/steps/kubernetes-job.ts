import { post } from '../api.ts';
import { equal, kubectl, sql, until } from '../cluster.ts';
import { IMAGE } from '../release.ts';
import type { Step } from '../step.ts';

const JOBS = ['get', 'jobs', '--selector', 'distributed-task-scheduler/task-id', '--output', 'name'];

export const kubernetesJob: Step = {
  name: 'kubernetes-job',
  promise: 'a task runs a container as a Job, with the rights that the chart gives, and leaves no Job behind',
  async body(api) {
    const payload = {
      image: IMAGE,
      command: ['node', '--eval', 'console.log("from a container of", process.env.TASK_ATTEMPT)'],
      run_as_user: 1000,
    };
    const { id } = (await post(api, '/tasks', { action: 'kubernetes.job', payload, timeout: 60 })) as { id: string };
    const seconds = await until('the task is COMPLETED', 60, () => statusOf(id) === 'COMPLETED', 1_000);
    const result = sql(`SELECT result FROM execution_logs WHERE task_id = '${id}'`);
    equal(result.includes('from a container of 1'), true, `its output is in the result, which is ${result}`);
    await until('its Job is gone', 30, () => kubectl(...JOBS) === '', 1_000);
    return `COMPLETED after ${seconds.toFixed(0)} s`;
  },
};

function statusOf(id: string): string {
  return sql(`SELECT status FROM tasks WHERE id = '${id}'`);
}
