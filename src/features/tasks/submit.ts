import { z } from 'zod';
import { QueuesExceededError, StoreUnavailableError, type QueueBound } from '../../core/errors.ts';
import type { IdSource } from '../../core/ids.ts';
import { atOnce, inSlices, type Steps } from '../../lifecycle/slices.ts';
import type { Trace } from '../../core/trace.ts';
import type { SubmitResult } from '../../engine/submit/submit-store.ts';
import type { Admission } from '../../http/admission/admission.ts';
import { rateLimitSubject } from '../../http/client-address.ts';
import { invalidRequest } from '../../http/field-errors.ts';
import { JsonPieces, JsonText, toJson } from '../../json/json-text.ts';
import { shorten } from '../../json/json-scan.ts';
import type { FieldError } from '../../json/json-pointer.ts';
import { Problem } from '../../http/problem.ts';
import { defineRoute, type RequestInfo } from '../../http/route.ts';
import {
  prepareSubmission,
  submittedTask,
  type PreparedSubmission,
  type SubmittedTask,
} from '../../engine/submit/submission.ts';
import type { Submitter } from '../../engine/submit/submitter.ts';
import {
  batchRequest,
  batchTasks,
  idempotencyKey,
  taskRequest,
  type TaskRequest,
} from '../../engine/submit/task-request.ts';
import { taskLinks } from '../../http/task-parts.ts';

export interface SubmitRoutesOptions {
  readonly submitter: Pick<Submitter, 'submit' | 'submitAll'>;
  readonly ids: IdSource;
  readonly admission: Admission;
  readonly payloadMaxBytes: number;
  readonly batchMaxTasks: number;
  readonly batchMaxBytes: number;
}

/** Room for everything of a request that is not its payload. */
const BODY_SLACK_BYTES = 65_536;

/** So little is prepared at once; more of it in slices. */
const FEW_TASKS = 50;
const FEW_BYTES = 32_768;

/** A payload may be nested this deep, wherever in a body it stands. */
const PAYLOAD_DEPTH = 64;

const DESCRIPTION = `The answer comes when the task is committed: from then on it is not lost.

\`Idempotency-Key\` makes a repetition safe: the same request under the same key gets the first answer again, with
\`Idempotency-Replayed: true\`; another request under it gets 409. The rate limit counts tasks per client address.`;

const BATCH_DESCRIPTION = `The answer comes when all tasks are committed: from then on they are not lost.

A task's \`idempotency_key\` makes its repetition safe: the same task under the same key gets the first answer again, with
\`"replayed": true\`; one key that belongs to another task refuses the whole batch with 409. The header \`Idempotency-Key\`,
which names one task, is refused. A batch of n tasks costs n tokens of the rate limit; one larger than the bucket is
admitted when the bucket is full.`;

/** Taking in tasks, one or many. */
export function submitRoutes(options: SubmitRoutesOptions) {
  return [submitTask(options), submitBatch(options)];
}

/** One that every worker can execute: whoever tries it out sees it COMPLETED. */
const EXAMPLE_REQUEST = { action: 'simulate', payload: { order: 17 }, execution_time: 1, priority: 'High' };

const EXAMPLE_ANSWER: SubmittedTask = {
  id: '019a5b3c-8f00-7000-8000-0123456789ab',
  queue: 'default',
  action: EXAMPLE_REQUEST.action,
  payload: EXAMPLE_REQUEST.payload,
  priority: 'High',
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

function submitTask(options: SubmitRoutesOptions) {
  const { submitter, admission, payloadMaxBytes } = options;
  return defineRoute({
    method: 'post',
    path: '/tasks',
    summary: 'Submit a task',
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
        headers: { ...RATE_LIMIT_HEADERS, 'Idempotency-Replayed': '`true` if an earlier request was answered again' },
        links: taskLinks('$response.body#/id'),
      },
    },
    problems: ['payload_too_large', 'queues_exceeded', 'refused_data', 'idempotency_key_reused', 'rate_limited'],
    admit: (info) => admission.arrive(info),
    async handler({ body, headers, trace, clientAddress, annotate }) {
      const key = headers['idempotency-key'];
      const [prepared] = (await prepareAll(options, [body], [key], trace, () => '')) as [PreparedSubmission];
      annotate({ task_id: prepared.answer.id, queue: body.queue });
      const result = await refusingQueues(
        [body],
        () => '',
        () => submitter.submit(prepared.submission, rateLimitSubject(clientAddress)),
      );
      if (result.kind === 'mismatch') throw keyReused([{ path: 'header:idempotency-key', ...KEY_REUSED }]);
      annotate({ task_id: idOf(prepared, result), replayed: result.kind === 'replayed' });
      return {
        body: answerOf(prepared, result) as SubmittedTask,
        ...(result.kind === 'replayed' ? { headers: { 'Idempotency-Replayed': 'true' } } : {}),
      };
    },
  });
}

const batchAnswer = z.object({
  tasks: z.array(submittedTask.extend({ replayed: z.boolean() }).meta({ id: 'BatchSubmittedTask' })),
});

function submitBatch(options: SubmitRoutesOptions) {
  const { submitter, admission, batchMaxTasks, batchMaxBytes } = options;
  return defineRoute({
    method: 'post',
    path: '/tasks/batch',
    summary: 'Submit many tasks, all or nothing',
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
    problems: ['payload_too_large', 'queues_exceeded', 'refused_data', 'idempotency_key_reused', 'rate_limited'],
    admit: (info) => admission.arrive(info),
    async handler(request) {
      const { tasks } = request.body;
      refuseKeyOfAll(request);
      const keys = tasks.map(({ idempotency_key }) => idempotency_key);
      refuseRepeatedKeys(keys);
      const pathOf = (i: number): string => `/tasks/${i}`;
      const charge = () => admission.charge(request, tasks.length);
      const prepared = await prepareAll(options, tasks, keys, request.trace, pathOf, charge);
      request.annotate({ tasks: tasks.length });
      const submissions = prepared.map(({ submission }) => submission);
      const commit = () => submitter.submitAll(submissions, rateLimitSubject(request.clientAddress));
      const results = await refusingQueues(tasks, pathOf, commit).catch(async (error: unknown) => {
        // Nothing of it stands; after an outage, nobody knows.
        if (!(error instanceof StoreUnavailableError)) await admission.refund(request, tasks.length, 0);
        throw error;
      });
      const reused = results.flatMap(({ kind }, i) =>
        kind === 'mismatch' ? [{ path: `/tasks/${i}/idempotency_key`, ...KEY_REUSED }] : [],
      );
      const created = reused.length > 0 ? 0 : results.filter(({ kind }) => kind === 'created').length;
      await admission.refund(request, tasks.length, created);
      if (reused.length > 0) throw keyReused(reused);
      return { body: new JsonPieces(batchAnswerPieces(prepared, results)) as never };
    },
  });
}

/**
 * Everything that can be refused without a look at other tasks.
 * @param pathOf JSON pointer of the nth task
 * @param charge called once the tasks are known to be valid, before anything is stored
 */
async function prepareAll(
  { ids, payloadMaxBytes }: SubmitRoutesOptions,
  requests: readonly TaskRequest[],
  keys: readonly (string | undefined)[],
  trace: Trace,
  pathOf: (index: number) => string,
  charge: () => Promise<void> = async () => {},
): Promise<PreparedSubmission[]> {
  refuseLargePayloads(requests, payloadMaxBytes, pathOf);
  await charge();
  const prepare = function* (): Steps<PreparedSubmission[]> {
    const prepared: PreparedSubmission[] = [];
    for (const [i, request] of requests.entries()) {
      prepared.push(yield* prepareSubmission(request, { id: ids.next(), trace, key: keys[i] }));
      yield;
    }
    return prepared;
  };
  const bytes = requests.reduce((sum, { payload }) => sum + payload.bytes, 0);
  return requests.length <= FEW_TASKS && bytes <= FEW_BYTES ? atOnce(prepare()) : inSlices(prepare());
}

/** Names the task whose queue would be one too many. */
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
    const errors = [{ path, code: 'queues_exceeded', message: 'would be one queue too many', given: error.queue }];
    throw new Problem('queues_exceeded', EXCEEDED[error.bound], { errors, cause: error });
  }
}

const EXCEEDED: Readonly<Record<QueueBound, string>> = {
  total: 'as many queues exist as are allowed in total (QUEUES_MAX)',
  client: 'this client has brought as many queues into being as one may (QUEUES_MAX_PER_ADDRESS)',
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

/** Ignored, it would promise what does not hold: that repeating the batch makes no more tasks. */
function refuseKeyOfAll({ rawHeaders }: RequestInfo): void {
  const given = rawHeaders['idempotency-key'];
  if (given === undefined) return;
  const message = 'a batch has a key for each task: `idempotency_key`, beside its `payload`';
  throw invalidRequest([
    { path: 'header:idempotency-key', code: 'not_for_batches', message, given: shorten(JSON.stringify(given)) },
  ]);
}

/** Two tasks under one key of the same batch cannot both be meant. */
function refuseRepeatedKeys(keys: readonly (string | undefined)[]): void {
  const places = Map.groupBy(keys.keys(), (i) => keys[i]);
  places.delete(undefined);
  const errors = [...places.values()]
    .filter((same) => same.length > 1)
    .flatMap((same) =>
      same.map((i) => ({
        path: `/tasks/${i}/idempotency_key`,
        code: 'repeated_key',
        message: 'is used more than once in this batch',
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

/** A replay gets the answer that was stored with the key. */
function answerOf(prepared: PreparedSubmission, result: SubmitResult): SubmittedTask | JsonText {
  return result.kind === 'replayed' ? new JsonText(result.answer) : prepared.answer;
}

/** The answer to a batch, made while it is sent: it repeats all payloads. */
function* batchAnswerPieces(
  prepared: readonly PreparedSubmission[],
  results: readonly SubmitResult[],
): Generator<string> {
  for (const [i, one] of prepared.entries()) {
    const result = results[i] as SubmitResult;
    const task = toJson(answerOf(one, result));
    yield `${i === 0 ? '{"tasks":[' : ','}${task.slice(0, -1)},"replayed":${result.kind === 'replayed'}}`;
  }
  yield ']}';
}
