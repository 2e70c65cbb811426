import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { fakeHandlerContext, fakeTask } from '../../test/fake-handler-context.ts';
import {
  startKubernetesApi,
  status,
  type ApiAnswer,
  type ApiRequest,
  type TestKubernetesApi,
} from '../../test/harness/kubernetes-api.ts';
import { AttemptAbortedError } from '../core/errors.ts';
import type { StartedTask } from '../core/task.ts';
import { createKubernetesClient, type KubernetesClient } from '../kubernetes/client.ts';
import { createJobs } from '../kubernetes/jobs.ts';
import { createKubernetesJob } from './kubernetes-job.ts';

const PATH = '/apis/batch/v1/namespaces/tasks/jobs';
const PODS = '/api/v1/namespaces/tasks/pods';
const GROUP = 'distributed-task-scheduler/task-id';

interface Manifest {
  readonly metadata: { readonly name: string; readonly labels: Record<string, string> };
  readonly spec: { readonly template: { readonly spec: { readonly containers: readonly Record<string, unknown>[] } } };
}

/** A state of a job's container. Each look at the job moves on to the next state; the last state stays. */
type Step =
  | { readonly waiting: string }
  | { readonly running: true }
  | { readonly exitCode: number }
  /** Somebody deleted the job. */
  | { readonly vanished: true };

/** Simulates the jobs of a namespace. Each look at a job moves it to its next state. */
class Cluster {
  readonly jobs = new Map<string, { readonly manifest: Manifest; steps: Step[] }>();
  readonly created: Manifest[] = [];
  steps: Step[] = [{ running: true }, { exitCode: 0 }];
  log = 'first\nlast\n';
  /** Answers a request before the simulation does; undefined means that the simulation answers. */
  intercept: (request: ApiRequest) => ApiAnswer | null | undefined = () => undefined;

  handle = (request: ApiRequest): ApiAnswer | null => {
    const given = this.intercept(request);
    if (given !== undefined) return given;
    const { method, path, query, body } = request;
    const name = path.slice(PATH.length + 1);
    if (path === PATH && method === 'POST') return this.#create(body as Manifest);
    if (path === PATH) {
      const items = [...this.jobs.values()].map(({ manifest }) => manifest);
      const wanted = query.get('labelSelector')?.split('=')[1];
      return ok({ kind: 'JobList', items: items.filter(({ metadata }) => metadata.labels[GROUP] === wanted) });
    }
    if (path.startsWith(`${PATH}/`) && method === 'DELETE') {
      return this.jobs.delete(name) ? ok({ kind: 'Status', status: 'Success' }) : status(404, 'NotFound', 'jobs');
    }
    if (path.startsWith(`${PATH}/`)) return this.#look(name);
    if (path === PODS) {
      const job = this.jobs.get(query.get('labelSelector')?.split('=')[1] ?? '');
      return ok({ kind: 'PodList', items: job === undefined ? [] : [podOf(job.manifest, job.steps[0])] });
    }
    if (path.endsWith('/log')) return { status: 200, body: this.log };
    return status(405, 'MethodNotAllowed');
  };

  #create(manifest: Manifest): ApiAnswer {
    if (this.jobs.has(manifest.metadata.name)) return status(409, 'AlreadyExists', 'jobs');
    this.created.push(manifest);
    this.jobs.set(manifest.metadata.name, { manifest, steps: [...this.steps] });
    return { status: 201, body: manifest };
  }

  #look(name: string): ApiAnswer {
    const job = this.jobs.get(name);
    if (job === undefined) return status(404, 'NotFound', 'jobs');
    if (job.steps.length > 1) job.steps.shift();
    const [step] = job.steps;
    if (step !== undefined && 'vanished' in step) this.jobs.delete(name);
    return this.jobs.has(name)
      ? ok({ ...job.manifest, status: { conditions: conditionsOf(step) } })
      : status(404, 'NotFound', 'jobs');
  }
}

const ok = (body: unknown): ApiAnswer => ({ status: 200, body });

function conditionsOf(step: Step | undefined): object[] {
  if (step === undefined || !('exitCode' in step)) return [];
  if (step.exitCode === 0) return [{ type: 'Complete', status: 'True' }];
  return [{ type: 'Failed', status: 'True', reason: 'BackoffLimitExceeded', message: 'has reached the limit' }];
}

function podOf({ metadata }: Manifest, step: Step | undefined): object {
  const state =
    step === undefined || 'vanished' in step
      ? {}
      : 'waiting' in step
        ? { waiting: { reason: step.waiting, message: 'says the kubelet' } }
        : 'running' in step
          ? { running: {} }
          : { terminated: { exitCode: step.exitCode, reason: step.exitCode === 0 ? 'Completed' : 'Error' } };
  return { metadata: { name: `${metadata.name}-x` }, status: { containerStatuses: [{ name: 'task', state }] } };
}

let api: TestKubernetesApi;
let cluster: Cluster;
let client: KubernetesClient;

beforeEach(async () => {
  cluster = new Cluster();
  api = await startKubernetesApi(cluster.handle);
  client = createKubernetesClient({
    server: `https://127.0.0.1:${api.port}`,
    caFile: `${api.serviceAccount}/ca.crt`,
    tokenFile: `${api.serviceAccount}/token`,
    namespace: 'tasks',
  });
  await client.load();
});

afterEach(async () => {
  await client.close();
  await api.close();
});

const PAYLOAD = { image: 'registry.example.org/team/report:1' };

function run(payload: unknown = PAYLOAD, task: Partial<StartedTask> = {}, signal?: AbortSignal) {
  const handler = createKubernetesJob({
    jobs: createJobs(client, 'tasks'),
    allowedImages: ['registry.example.org/team/*', 'busybox:1.37'],
    pollMs: 1,
    startPatienceMs: 0,
  });
  return handler(fakeHandlerContext(payload, task, signal));
}

const nameOf = (attempt: number): string => `task-${fakeTask.id}-${attempt}`;

describe('kubernetes.job', () => {
  it('runs a container to its end, keeps the end of its output, and deletes the job', async () => {
    const payload = {
      ...PAYLOAD,
      command: ['report'],
      args: ['--day', '1'],
      env: { DAY: 'monday' },
      resources: { requests: { cpu: '100m' }, limits: { memory: '64Mi' } },
      run_as_user: 1000,
    };
    const name = nameOf(2);
    expect(await run(payload, { attempt: 2, timeoutMs: 60_000 })).toEqual({
      job: name,
      exit_code: 0,
      log: 'first\nlast\n',
    });
    expect(cluster.jobs.size).toBe(0);
    const [manifest] = cluster.created;
    expect(manifest).toMatchObject({
      metadata: { name, labels: { [GROUP]: fakeTask.id } },
      spec: {
        backoffLimit: 0,
        activeDeadlineSeconds: 90,
        template: {
          spec: {
            restartPolicy: 'Never',
            automountServiceAccountToken: false,
            securityContext: { runAsNonRoot: true, runAsUser: 1000, seccompProfile: { type: 'RuntimeDefault' } },
          },
        },
      },
    });
    expect(manifest?.spec.template.spec.containers).toEqual([
      {
        name: 'task',
        image: PAYLOAD.image,
        command: ['report'],
        args: ['--day', '1'],
        env: [
          { name: 'DAY', value: 'monday' },
          { name: 'TASK_ID', value: fakeTask.id },
          { name: 'TASK_ATTEMPT', value: '2' },
          { name: 'TASK_ATTEMPT_TOKEN', value: `${fakeTask.id}:2` },
          { name: 'TRACE_ID', value: fakeTask.traceId },
        ],
        resources: { requests: { cpu: '100m' }, limits: { memory: '64Mi' } },
        securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
      },
    ]);
  });

  it('gives jobs and their pods the labels and the Secrets of the installation', async () => {
    const labels = { 'app.kubernetes.io/component': 'job', [GROUP]: 'not this one' };
    const jobs = createJobs(client, 'tasks', { labels, pullSecrets: ['registry'] });
    const handler = createKubernetesJob({ jobs, allowedImages: ['registry.example.org/team/*'], pollMs: 1 });
    await handler(fakeHandlerContext(PAYLOAD));
    const [manifest] = cluster.created;
    const expected = { 'app.kubernetes.io/component': 'job', [GROUP]: fakeTask.id };
    expect(manifest).toMatchObject({
      metadata: { labels: expected },
      spec: { template: { metadata: { labels: expected }, spec: { imagePullSecrets: [{ name: 'registry' }] } } },
    });
  });

  it('runs the container of an attempt once, even if the response to its creation was lost', async () => {
    let lost = 0;
    cluster.intercept = (request) => {
      if (request.method !== 'POST' || lost++ > 0) return undefined;
      cluster.intercept = () => undefined;
      cluster.handle(request);
      return status(504, 'Timeout', 'jobs');
    };
    expect(await run()).toMatchObject({ exit_code: 0 });
    expect(cluster.created).toHaveLength(1);
  });

  it('ends the job that an earlier attempt left, but no job of another task', async () => {
    const left = (name: string, task: string): void => {
      const manifest = {
        metadata: { name, labels: { [GROUP]: task } },
        spec: { template: { spec: { containers: [] } } },
      };
      cluster.jobs.set(name, { manifest, steps: [{ running: true }] });
    };
    left(nameOf(1), fakeTask.id);
    left('task-other-1', 'other');
    expect(await run(PAYLOAD, { attempt: 2 })).toMatchObject({ job: nameOf(2) });
    expect([...cluster.jobs.keys()]).toEqual(['task-other-1']);
    const [earlier, own] = ['DELETE', 'POST'].map((method) => api.requests.findIndex((one) => one.method === method));
    expect(earlier).toBeLessThan(own ?? 0);
    expect(api.requests.find(({ method }) => method === 'DELETE')).toMatchObject({ path: `${PATH}/${nameOf(1)}` });
  });

  it('fails with the exit code and the output, without retries for an exit code that the payload lists', async () => {
    cluster.steps = [{ running: true }, { exitCode: 3 }];
    await expect(run()).rejects.toMatchObject({
      name: 'RetryableError',
      code: 'job_failed',
      message: expect.stringContaining('failed with exit code 3 (Error'),
      result: { exit_code: 3, log: 'first\nlast\n' },
    });
    await expect(run({ ...PAYLOAD, final_exit_codes: [3] })).rejects.toMatchObject({ name: 'FinalError' });
    expect(cluster.jobs.size).toBe(0);
  });

  it('keeps the end of a long output', async () => {
    cluster.log = `${'x'.repeat(20_000)}end`;
    const { log } = (await run()) as { log: string };
    expect(log).toHaveLength(16_384);
    expect(log.endsWith('end')).toBe(true);
  });

  it.each(['cancelled', 'timed_out', 'ownership_lost'] as const)('deletes the job when it is %s', async (code) => {
    cluster.steps = [{ running: true }];
    const controller = new AbortController();
    const running = run(PAYLOAD, {}, controller.signal);
    await expect.poll(() => cluster.jobs.size).toBe(1);
    controller.abort(new AttemptAbortedError(code, code));
    await expect(running).rejects.toMatchObject({ code });
    expect(cluster.jobs.size).toBe(0);
  });

  it('repeats its calls while the API does not answer', async () => {
    let failures = 0;
    cluster.intercept = ({ method }) =>
      method !== 'DELETE' && failures++ % 3 === 0 ? status(503, 'ServiceUnavailable') : undefined;
    expect(await run()).toMatchObject({ exit_code: 0 });
  });

  it.each([
    [422, 'Invalid', 'FinalError'],
    [400, 'BadRequest', 'FinalError'],
    [403, 'Forbidden', 'RetryableError'],
  ])('repeats why the API refused the job: %i %s is a %s', async (code, reason, name) => {
    cluster.intercept = ({ method }) => (method === 'POST' ? status(code, reason, 'jobs') : undefined);
    await expect(run()).rejects.toMatchObject({ name, code: 'job_refused', message: expect.stringContaining(reason) });
  });

  it('waits for a missing image only for some time, and not at all for an invalid image name', async () => {
    cluster.steps = [{ waiting: 'ImagePullBackOff' }];
    await expect(run()).rejects.toMatchObject({
      name: 'RetryableError',
      code: 'job_cannot_start',
      message: expect.stringContaining('ImagePullBackOff: says the kubelet'),
    });
    cluster.steps = [{ waiting: 'InvalidImageName' }];
    await expect(run()).rejects.toMatchObject({ name: 'FinalError', code: 'job_cannot_start' });
    cluster.steps = [{ waiting: 'ContainerCreating' }, { waiting: 'ContainerCreating' }, { exitCode: 0 }];
    expect(await run()).toMatchObject({ exit_code: 0 });
  });

  it('is retried when somebody deleted the job', async () => {
    cluster.steps = [{ running: true }, { running: true }, { vanished: true }];
    await expect(run()).rejects.toMatchObject({ name: 'RetryableError', code: 'job_vanished' });
  });

  it.each([
    [{ image: 'busybox:1.38' }, 'image_refused', 'KUBERNETES_JOBS_IMAGES'],
    [{ image: 'registry.example.org/other/report' }, 'image_refused', 'KUBERNETES_JOBS_IMAGES'],
    [{}, 'invalid_payload', 'payload.image: '],
    [{ ...PAYLOAD, env: { TASK_ID: 'x' } }, 'invalid_payload', 'payload.env.TASK_ID: is set by the scheduler'],
    [{ ...PAYLOAD, run_as_user: 0 }, 'invalid_payload', 'payload.run_as_user: '],
    [{ ...PAYLOAD, privileged: true }, 'invalid_payload', 'Unrecognized key: "privileged"'],
  ])('refuses %j without retries, before it calls the API', async (payload, code, message) => {
    await expect(run(payload)).rejects.toMatchObject({
      name: 'FinalError',
      code,
      message: expect.stringContaining(message),
    });
    expect(api.requests).toEqual([]);
  });
});
