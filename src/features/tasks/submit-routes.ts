import { z } from 'zod';
import { ANYBODY } from '../../core/access/client.ts';
import type { Projection, ProjectionOf } from '../../core/access/projection.ts';
import { QueuesExceededError, StoreUnavailableError, type QueueBound } from '../../core/errors.ts';
import type { IdSource } from '../../core/ids.ts';
import {
  prepareSubmission,
  submittedTask,
  type PreparedSubmission,
  type SubmittedTask,
} from '../../engine/submit/submission.ts';
import type { SubmitResult } from '../../engine/submit/submit-store.ts';
import type { Submitter } from '../../engine/submit/submitter.ts';
import {
  batchRequest,
  batchTasks,
  idempotencyKey,
  taskRequest,
  type TaskRequest,
} from '../../engine/submit/task-request.ts';
import type { Admission } from '../../http/admission/admission.ts';
import { invalidRequest } from '../../http/field-errors.ts';
import { Problem } from '../../http/problem.ts';
import { defineRoute, type RequestInfo } from '../../http/route.ts';
import { rateLimitSubject } from '../../http/server/client-address.ts';
import { taskLinks } from '../../http/task-parts.ts';
import type { FieldError } from '../../json/field-error.ts';
import { shorten } from '../../json/json-scan.ts';
import { JsonPieces, JsonText, toJson } from '../../json/json-text.ts';
import { atOnce, inSlices, type Steps } from '../../lifecycle/slices.ts';
import { withinQuota, type Quotas } from './quotas.ts';
import { refuseForbidden } from './submit-rights.ts';

export interface SubmitRoutesOptions {
  readonly submitter: Pick<Submitter, 'submit' | 'submitAll'>;
  readonly projectionOf: ProjectionOf;
  readonly ids: IdSource;
  readonly admission: Admission;
  readonly quotas: Quotas;
  readonly payloadMaxBytes: number;
  readonly batchMaxTasks: number;
  readonly batchMaxBytes: number;
}

/** Bytes allowed for a request besides its payload. */
const BODY_SLACK_BYTES = 65_536;

/** Requests up to both limits are prepared at once; larger ones in slices. */
const FEW_TASKS = 50;
const FEW_BYTES = 32_768;

/** Levels of nesting that a payload may have. */
const PAYLOAD_DEPTH = 64;

const DESCRIPTION = `The server answers after the task is committed. A committed task is not lost.

\`Idempotency-Key\` makes it safe to repeat a request. The same request with the same key gets the first answer again,
with the header \`Idempotency-Replayed: true\`. A different request with the same key gets 409. A key belongs to its
client and queue: the same key in another queue is another key. The rate limit counts tasks per client address, or per
client if it has a limit of its own.`;

const BATCH_DESCRIPTION = `The server answers after all tasks are committed. Committed tasks are not lost.

The \`idempotency_key\` of a task makes it safe to repeat the task. The same task with the same key gets the first
answer again, with \`"replayed": true\`. A key belongs to the client and the queue of its task. If one key belongs to a
different task, the whole batch is refused with 409. The header \`Idempotency-Key\` is refused, because it names a single
task. If the client may not submit one of the tasks, the whole batch is refused, and \`errors\` names each such task. A
batch of n tasks costs n tokens of the rate limit. A batch larger than the bucket is admitted when the bucket is full.`;

/** Makes the routes that submit one task or a batch. */
export function submitRoutes(options: SubmitRoutesOptions) {
  return [submitTask(options), submitBatch(options)];
}

/** An example that every worker can execute, so that a user who tries it sees a COMPLETED task. */
const EXAMPLE_REQUEST = { action: 'simulate', payload: { order: 17 }, execution_time: 1, priority: 'High' };

const EXAMPLE_ANSWER: SubmittedTask = {
  id: '019a5b3c-8f00-7000-8000-0123456789ab',
  queue: 'default',
  action: EXAMPLE_REQUEST.action,
  payload: EXAMPLE_REQUEST.payload,
  priority: 'High',
  group: null,
  status: 'PENDING',
  created_at: '2026-11-24T09:30:00.000Z',
  run_at: '2026-11-24T09:30:00.000Z',
  execution_time: EXAMPLE_REQUEST.execution_time,
  attempt: 0,
  max_retries: 3,
  backoff: null,
  timeout: 1_800,
  metadata: null,
  trace_id: '4bf92f3577b34da6a3ce929d0e0e4736',
};

const RATE_LIMIT_HEADERS = {
  'RateLimit-Limit': 'tokens of a full bucket',
  'RateLimit-Remaining': 'tokens left',
  'RateLimit-Reset': 'seconds until the bucket is full',
};

const PROBLEMS = [
  'queue_not_allowed',
  'action_not_allowed',
  'payload_too_large',
  'queues_exceeded',
  'refused_data',
  'idempotency_key_reused',
  'rate_limited',
  'quota_exceeded',
] as const;

function submitTask(options: SubmitRoutesOptions) {
  const { admission, quotas, payloadMaxBytes } = options;
  return defineRoute({
    method: 'post',
    path: '/tasks',
    summary: 'Submit a task',
    scope: 'submit',
    audit: 'task.submit',
    description: DESCRIPTION,
    headers: z.object({ 'idempotency-key': idempotencyKey.optional() }),
    body: taskRequest,
    bodyExample: EXAMPLE_REQUEST,
    bodyLimit: payloadMaxBytes + BODY_SLACK_BYTES,
    bodyDepth: PAYLOAD_DEPTH + 1,
    tasks: 'body',
    responses: {
      200: {
        description: 'The task is committed',
        schema: submittedTask,
        example: EXAMPLE_ANSWER,
        headers: {
          ...RATE_LIMIT_HEADERS,
          'Idempotency-Replayed': '`true` if this is the answer of an earlier request',
        },
        links: taskLinks('$response.body#/id'),
      },
    },
    problems: PROBLEMS,
    admit: (info) => admission.arrive(info),
    async handler(request) {
      const from = { info: request, pathOf: () => '' };
      refuseForbidden(options.ids, [request.body], { client: request.client, pathOf: from.pathOf });
      const key = request.headers['idempotency-key'];
      const work = () => submitOne(options, request.body, key, from);
      const { prepared, result } = await withinQuota(quotas, request.client, 1, work);
      if (result.kind === 'mismatch') throw keyReused([{ path: 'header:idempotency-key', ...KEY_REUSED }]);
      request.annotate({ task_id: idOf(prepared, result), replayed: result.kind === 'replayed' });
      return {
        body: answerOf(prepared, result, options.projectionOf(request.client)) as SubmittedTask,
        ...(result.kind === 'replayed' ? { headers: { 'Idempotency-Replayed': 'true' } } : {}),
      };
    },
  });
}

const batchAnswer = z.object({
  tasks: z.array(submittedTask.extend({ replayed: z.boolean() }).meta({ id: 'BatchSubmittedTask' })),
});

function submitBatch(options: SubmitRoutesOptions) {
  const { admission, quotas, batchMaxTasks, batchMaxBytes } = options;
  return defineRoute({
    method: 'post',
    path: '/tasks/batch',
    summary: 'Submit many tasks, all or nothing',
    scope: 'submit',
    audit: 'task.submit',
    description: BATCH_DESCRIPTION,
    body: batchRequest(batchMaxTasks),
    bodyExample: { tasks: [EXAMPLE_REQUEST, { payload: 42, idempotency_key: 'order-4711' }] },
    bodyLimit: batchMaxBytes,
    bodyDepth: PAYLOAD_DEPTH + 3,
    tasks: batchTasks(batchMaxTasks),
    responses: {
      200: {
        description: 'All tasks are committed, in the order given',
        schema: batchAnswer,
        example: { tasks: [{ ...EXAMPLE_ANSWER, replayed: false }] },
        headers: RATE_LIMIT_HEADERS,
      },
    },
    problems: PROBLEMS,
    admit: (info) => admission.arrive(info),
    async handler(request) {
      const { tasks } = request.body;
      refuseKeyOfAll(request);
      refuseRepeatedKeys(tasks);
      const keys = tasks.map(({ idempotency_key }) => idempotency_key);
      const from = { info: request, pathOf: (i: number): string => `/tasks/${i}` };
      refuseForbidden(options.ids, tasks, { client: request.client, pathOf: from.pathOf });
      const work = () => submitTogether(options, tasks, keys, from);
      const { prepared, results } = await withinQuota(quotas, request.client, tasks.length, work);
      const reused = results.flatMap(({ kind }, i) =>
        kind === 'mismatch' ? [{ path: `/tasks/${i}/idempotency_key`, ...KEY_REUSED }] : [],
      );
      if (reused.length > 0) throw keyReused(reused);
      const seen = options.projectionOf(request.client);
      return { body: new JsonPieces(batchAnswerPieces(prepared, results, seen)) as never };
    },
  });
}

/**
 * Returns to whom new queues are counted: the client, or the address while anybody may submit. The name of a client
 * cannot be an address.
 */
function creatorOf({ client, clientAddress }: RequestInfo): string {
  return client === ANYBODY ? rateLimitSubject(clientAddress) : `client:${client.name}`;
}

/** Counts the tasks of a batch that were created. If one key belongs to another request, none was. */
function createdOf(results: readonly SubmitResult[]): number {
  if (results.some(({ kind }) => kind === 'mismatch')) return 0;
  return results.filter(({ kind }) => kind === 'created').length;
}

/** What all tasks of a request have in common. */
interface Origin {
  readonly info: RequestInfo;
  /** JSON pointer of the nth task. */
  readonly pathOf: (index: number) => string;
}

async function submitOne(
  options: SubmitRoutesOptions,
  task: TaskRequest,
  key: string | undefined,
  from: Origin,
): Promise<{ prepared: PreparedSubmission; result: SubmitResult; created: number }> {
  const [prepared] = (await prepareAll(options, [task], [key], from)) as [PreparedSubmission];
  from.info.annotate({ task_id: prepared.answer.id, queue: task.queue });
  const commit = () => options.submitter.submit(prepared.submission, creatorOf(from.info));
  const result = await refusingQueues([task], from.pathOf, commit);
  return { prepared, result, created: result.kind === 'created' ? 1 : 0 };
}

async function submitTogether(
  options: SubmitRoutesOptions,
  tasks: readonly TaskRequest[],
  keys: readonly (string | undefined)[],
  from: Origin,
): Promise<{ prepared: PreparedSubmission[]; results: SubmitResult[]; created: number }> {
  const { submitter, admission } = options;
  const prepared = await prepareAll(options, tasks, keys, from, () => admission.charge(from.info, tasks.length));
  from.info.annotate({ tasks: tasks.length });
  const submissions = prepared.map(({ submission }) => submission);
  const commit = () => submitter.submitAll(submissions, creatorOf(from.info));
  const results = await refusingQueues(tasks, from.pathOf, commit).catch(async (error: unknown) => {
    // Nothing was stored, so the tokens are given back. After an outage, the tasks may have been stored.
    if (!(error instanceof StoreUnavailableError)) await admission.refund(from.info, tasks.length, 0);
    throw error;
  });
  const created = createdOf(results);
  await admission.refund(from.info, tasks.length, created);
  return { prepared, results, created };
}

/**
 * Prepares tasks for submission. Refuses payloads that are too large.
 * @param charge called when the payloads have been checked, before anything is stored
 */
async function prepareAll(
  { ids, payloadMaxBytes }: SubmitRoutesOptions,
  requests: readonly TaskRequest[],
  keys: readonly (string | undefined)[],
  { info: { client, trace }, pathOf }: Origin,
  charge: () => Promise<void> = async () => {},
): Promise<PreparedSubmission[]> {
  refuseLargePayloads(requests, payloadMaxBytes, pathOf);
  await charge();
  const prepare = function* (): Steps<PreparedSubmission[]> {
    const prepared: PreparedSubmission[] = [];
    for (const [i, request] of requests.entries()) {
      prepared.push(yield* prepareSubmission(request, { id: ids.next(request.queue), trace, key: keys[i], client }));
      yield;
    }
    return prepared;
  };
  const bytes = requests.reduce((sum, { payload }) => sum + payload.bytes, 0);
  return requests.length <= FEW_TASKS && bytes <= FEW_BYTES ? atOnce(prepare()) : inSlices(prepare());
}

/** Turns a `QueuesExceededError` into a problem that names the first task of the queue. */
async function refusingQueues<Result>(
  requests: readonly TaskRequest[],
  pathOf: (index: number) => string,
  commit: () => Promise<Result>,
): Promise<Result> {
  try {
    return await commit();
  } catch (error) {
    if (!(error instanceof QueuesExceededError)) throw error;
    const path = `${pathOf(requests.findIndex(({ queue }) => queue === error.queue))}/queue`;
    const errors = [{ path, code: 'queues_exceeded', message: 'would exceed the limit on queues', given: error.queue }];
    throw new Problem('queues_exceeded', EXCEEDED[error.bound], { errors, cause: error });
  }
}

const EXCEEDED: Readonly<Record<QueueBound, string>> = {
  total: 'there are already as many queues as are allowed in total (QUEUES_MAX)',
  client: 'this client has already created as many queues as one client may (QUEUES_MAX_PER_ADDRESS)',
};

function refuseLargePayloads(
  requests: readonly TaskRequest[],
  maxBytes: number,
  pathOf: (index: number) => string,
): void {
  const errors = requests.flatMap(({ payload: { bytes } }, i): FieldError[] => {
    return bytes <= maxBytes
      ? []
      : [
          {
            path: `${pathOf(i)}/payload`,
            code: 'too_large',
            message: 'is too large',
            expected: `<= ${maxBytes} bytes`,
            given: `${bytes} bytes`,
          },
        ];
  });
  if (errors.length > 0)
    throw new Problem('payload_too_large', `a payload is longer than ${maxBytes} bytes`, { errors });
}

/** Refuses the key in the header. If it were ignored, a client could believe that repeating the batch is safe. */
function refuseKeyOfAll({ rawHeaders }: RequestInfo): void {
  const given = rawHeaders['idempotency-key'];
  if (given === undefined) return;
  const message = 'in a batch, each task has its own key: put `idempotency_key` beside its `payload`';
  throw invalidRequest([
    { path: 'header:idempotency-key', code: 'not_for_batches', message, given: shorten(JSON.stringify(given)) },
  ]);
}

/** Refuses a batch that uses the same key for two tasks of a queue. */
function refuseRepeatedKeys(
  tasks: readonly { readonly queue: string; readonly idempotency_key?: string | undefined }[],
): void {
  const keys = tasks.map(({ queue, idempotency_key: key }) => (key === undefined ? undefined : `${queue} ${key}`));
  const given = keys.filter((key) => key !== undefined);
  if (new Set(given).size === given.length) return;
  const places = Map.groupBy(keys.keys(), (i) => keys[i]);
  places.delete(undefined);
  const errors = [...places.values()]
    .filter((same) => same.length > 1)
    .flatMap((same) =>
      same.map((i) => ({
        path: `/tasks/${i}/idempotency_key`,
        code: 'repeated_key',
        message: 'is used more than once for this queue in this batch',
      })),
    );
  if (errors.length > 0) throw invalidRequest(errors);
}

const KEY_REUSED = { code: 'key_reused', message: 'belongs to a request with other content' };

function keyReused(errors: readonly FieldError[]): Problem {
  return new Problem(
    'idempotency_key_reused',
    'the idempotency key belongs to a request with other content; nothing was stored',
    { errors },
  );
}

function idOf(prepared: PreparedSubmission, result: SubmitResult): string {
  return result.kind === 'replayed' ? result.taskId : prepared.answer.id;
}

/** Returns the new answer, or for a replay the answer that was stored with the key, as the client sees it. */
function answerOf(prepared: PreparedSubmission, result: SubmitResult, seen: Projection): SubmittedTask | JsonText {
  const answer = result.kind === 'replayed' ? new JsonText(result.answer) : prepared.answer;
  // Both have the same action: a request with another one gets no answer of an earlier request.
  const shown = seen.submitted(prepared.answer.action, () => toJson(answer));
  return shown === null ? answer : new JsonText(shown);
}

/** Makes the answer to a batch while it is sent, because it contains all payloads and can be long. */
function* batchAnswerPieces(
  prepared: readonly PreparedSubmission[],
  results: readonly SubmitResult[],
  seen: Projection,
): Generator<string> {
  for (const [i, one] of prepared.entries()) {
    const result = results[i] as SubmitResult;
    const task = toJson(answerOf(one, result, seen));
    yield `${i === 0 ? '{"tasks":[' : ','}${task.slice(0, -1)},"replayed":${result.kind === 'replayed'}}`;
  }
  yield ']}';
}
