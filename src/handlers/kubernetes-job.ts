import { setTimeout as delay } from 'node:timers/promises';
import type { KubernetesJobPayload } from '../actions/kubernetes-job-payload.ts';
import { JOB_DEADLINE_SLACK_MS, JOB_POLL_INTERVAL_MS, JOB_START_PATIENCE_MS } from '../config/timings.ts';
import { systemClock, type Clock } from '../core/clock.ts';
import { FinalError, messageOf, RetryableError, SchedulerError, storableText } from '../core/errors.ts';
import { withResult } from '../engine/attempts/attempt-result.ts';
import type { Handler, HandlerContext } from '../engine/attempts/handler.ts';
import type { JobLook, Jobs, WantedJob } from '../kubernetes/jobs.ts';
import { pause } from '../lifecycle/loop.ts';
import { readJobPayload } from './job-payload.ts';

export interface KubernetesJobOptions {
  readonly jobs: Jobs;
  /** Images, or patterns that end in `*` and match by the part before it. */
  readonly allowedImages: readonly string[];
  readonly clock?: Pick<Clock, 'monotonicMs'>;
  readonly pollMs?: number;
  readonly startPatienceMs?: number;
}

/** The result of an attempt whose job has ended. */
export interface JobResult {
  readonly job: string;
  readonly exit_code: number | null;
  /** The end of the container's output. */
  readonly log: string;
}

const LOG_LINES = 100;
const LOG_LIMIT = 16_384;
const REMOVE_TRIES = 3;

/** Reasons why a container cannot start. Some of them are temporary. */
const CANNOT_START =
  /^(ErrImagePull|ImagePullBackOff|InvalidImageName|ErrImageNeverPull|CreateContainerConfigError|CreateContainerError)$/;

/**
 * The handler `kubernetes.job`: runs one container to its end, as a Job whose name is
 * made from the attempt. The exit code and the end of the output are the attempt's result.
 * It first ends jobs that earlier attempts left, and waits for their end.
 * @throws FinalError `invalid_payload`, `image_refused`, `job_refused`, `job_cannot_start`, `job_failed` for an exit
 * code in `final_exit_codes`
 * @throws RetryableError `job_failed`, `job_cannot_start`, `job_vanished`, `job_refused` (rights, quota)
 * @throws the signal's reason when it fires; the job is deleted
 */
export function createKubernetesJob(options: KubernetesJobOptions): Handler {
  const { jobs, allowedImages, clock = systemClock } = options;
  const { pollMs = JOB_POLL_INTERVAL_MS, startPatienceMs = JOB_START_PATIENCE_MS } = options;

  /** Repeats a call while the API does not answer, until the signal fires. */
  const insist = async <Answer>(signal: AbortSignal, call: () => Promise<Answer>): Promise<Answer> => {
    for (;;) {
      signal.throwIfAborted();
      try {
        return await call();
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof SchedulerError && error.retryable)) throw error;
        await pause(pollMs, signal);
      }
    }
  };

  const endEarlier = async (group: string, name: string, signal: AbortSignal): Promise<void> => {
    const names = await insist(signal, () => jobs.namesOf(group, signal));
    for (const earlier of names.filter((other) => other !== name)) {
      await insist(signal, () => jobs.remove(earlier));
      while ((await insist(signal, () => jobs.look(earlier, signal))) !== null) await pause(pollMs, signal);
    }
  };

  const waitForEnd = async (name: string, { signal, progress }: HandlerContext): Promise<JobLook> => {
    const sinceMs = clock.monotonicMs();
    let shown = '';
    for (;;) {
      await pause(pollMs, signal);
      const look = await insist(signal, () => jobs.look(name, signal));
      if (look === null) throw new RetryableError(`the job ${name} was deleted by somebody`, { code: 'job_vanished' });
      if (look.state === 'succeeded' || look.state === 'failed') return look;
      if (look.state === 'waiting') refuseToWait(name, look, clock.monotonicMs() - sinceMs > startPatienceMs);
      const news =
        look.reason === null ? { job: name, state: look.state } : { job: name, state: look.state, reason: look.reason };
      if (JSON.stringify(news) !== shown) progress(news);
      shown = JSON.stringify(news);
    }
  };

  /** Deletes a job. If that fails, the task's next attempt ends the job, or its own deadline does. */
  const removeFor = async (name: string, log: HandlerContext['log']): Promise<void> => {
    for (let tries = 1; ; tries++) {
      try {
        return await jobs.remove(name);
      } catch (error) {
        if (tries < REMOVE_TRIES) await delay(pollMs);
        else return log.warn({ err: error, job: name }, 'job could not be deleted');
      }
    }
  };

  return async (context) => {
    const { task, payload, signal, log } = context;
    const given = readJobPayload(payload, allowedImages);
    signal.throwIfAborted();
    const wanted = wantedJob(given, context);
    const { name } = wanted;
    try {
      await endEarlier(task.id, name, signal);
      await insist(signal, () => jobs.create(wanted, signal));
      log.info({ job: name }, 'job created');
      const look = await waitForEnd(name, context);
      const output = await insist(signal, () => jobs.tail(name, LOG_LINES, signal)).catch((error: unknown) => {
        signal.throwIfAborted();
        return `(the output could not be read: ${messageOf(error)})`;
      });
      return judge(given, look, { job: name, exit_code: look.exitCode, log: lastOf(output) });
    } catch (error) {
      throw judgeRefusal(error);
    } finally {
      // Delete the job even after an error, because it may exist although the response was lost.
      await removeFor(name, log);
    }
  };
}

function wantedJob(given: KubernetesJobPayload, { task, attemptToken }: HandlerContext): WantedJob {
  return {
    // The name belongs to the attempt, so that a repeated call finds the existing job.
    name: `task-${attemptToken.replace(':', '-')}`,
    group: task.id,
    annotations: { 'distributed-task-scheduler/trace-id': task.traceId },
    image: given.image,
    command: given.command ?? [],
    args: given.args ?? [],
    env: {
      ...given.env,
      TASK_ID: task.id,
      TASK_ATTEMPT: String(task.attempt),
      TASK_ATTEMPT_TOKEN: attemptToken,
      TRACE_ID: task.traceId,
    },
    resources: given.resources ?? {},
    runAsUser: given.run_as_user ?? null,
    deadlineSeconds: Math.ceil((task.timeoutMs + JOB_DEADLINE_SLACK_MS) / 1_000),
  };
}

function refuseToWait(name: string, { reason, message }: JobLook, outOfPatience: boolean): void {
  if (reason === null || !CANNOT_START.test(reason)) return;
  const text = `the job ${name} cannot start: ${reason}${message === null ? '' : `: ${message}`}`;
  if (reason === 'InvalidImageName') throw new FinalError(text, { code: 'job_cannot_start' });
  if (outOfPatience) throw new RetryableError(text, { code: 'job_cannot_start' });
}

function judge(given: KubernetesJobPayload, look: JobLook, result: JobResult): JobResult {
  if (look.state === 'succeeded') return result;
  const { exitCode, reason, message } = look;
  const how = exitCode === null ? '' : ` with exit code ${exitCode}`;
  const why = [reason, message].filter((part) => part !== null && part !== '').join(': ');
  const text = `the job ${result.job} failed${how}${why === '' ? '' : ` (${why})`}`;
  const isFinal = exitCode !== null && given.final_exit_codes?.includes(exitCode) === true;
  const failure = isFinal
    ? new FinalError(text, { code: 'job_failed' })
    : new RetryableError(text, { code: 'job_failed' });
  throw withResult(failure, result);
}

/** 400 and 422 mean that the job itself is wrong. Rights and quotas can be fixed, so those errors are retried. */
function judgeRefusal(error: unknown): unknown {
  if (!(error instanceof SchedulerError) || error.code !== 'kubernetes_api') return error;
  const status = 'status' in error ? error.status : null;
  const options = { code: 'job_refused' };
  return status === 400 || status === 422
    ? new FinalError(error.message, options)
    : new RetryableError(error.message, options);
}

function lastOf(output: string): string {
  return storableText(output.slice(-LOG_LIMIT), LOG_LIMIT);
}
