import { z } from 'zod';
import { isBuiltIn, payloadIssues } from '../../actions/built-in.ts';
import { isSystemQueue, SYSTEM_QUEUE_PREFIX } from '../../core/access/name-patterns.ts';
import { PRIORITIES, PRIORITY_NAMES, type Priority } from '../../core/priority.ts';
import { DEFAULT_BACKOFF, DEFAULT_MAX_RETRIES } from '../../core/retry-policy.ts';
import {
  ACTION_LENGTH_MAX,
  DEFAULT_ACTION,
  DEFAULT_QUEUE,
  GROUP_LENGTH_MAX,
  QUEUE_NAME,
  QUEUE_NAME_RULE,
} from '../../core/task.ts';
import { givenTime } from '../../given/given-time.ts';
import { givenLabel, givenText } from '../../given/given-values.ts';
import type { TaskArray } from '../../given/task-array.ts';
import { Payload } from '../../json/json-text.ts';

const DAY_SECONDS = 86_400;
const TIMEOUT_DEFAULT_SECONDS = 1_800;
const METADATA_ENTRIES_MAX = 32;

export const idempotencyKey = z
  .string()
  .regex(/^[\x20-\x7e]{1,255}$/, 'expected 1 to 255 printable ASCII characters')
  // This has no `example`: the documentation page would send it with every request that is tried out there.
  .meta({
    description:
      'a name for this submission, such as `order-4711`; repeating it with the same content creates no second task',
  });

const priority = z
  .union([z.enum(PRIORITY_NAMES), z.literal([1, 2, 3])], { error: 'expected High, Medium or Low, or 1, 2 or 3' })
  .transform((given): Priority => (typeof given === 'string' ? PRIORITIES[given] : given))
  .prefault('Medium')
  .meta({ description: 'a smaller number runs first: High is 1, Medium 2, Low 3' });

const action = givenLabel().min(1).max(ACTION_LENGTH_MAX);

const backoff = z
  .strictObject({
    base: z
      .number()
      .min(0)
      .max(DAY_SECONDS)
      .default(DEFAULT_BACKOFF.baseMs / 1_000)
      .meta({ description: 'seconds before the first retry' }),
    factor: z
      .number()
      .min(1)
      .max(100)
      .default(DEFAULT_BACKOFF.factor)
      .meta({ description: 'growth from one retry to the next' }),
    max: z
      .number()
      .min(0)
      .max(30 * DAY_SECONDS)
      .default(DEFAULT_BACKOFF.maxMs / 1_000)
      .meta({ description: 'longest delay in seconds' }),
    jitter: z
      .number()
      .min(0)
      .max(1)
      .default(DEFAULT_BACKOFF.jitter)
      .meta({ description: 'share of the delay that may be cut at random' }),
  })
  .meta({ id: 'Backoff', description: 'delay before a retry: min(max, base × factor^(failures − 1))' });

/** Checks the members of metadata, in a request or in a filter. */
export const metadataMembers = z.preprocess(
  (given, context) => {
    if (typeof given !== 'object' || given === null) return given;
    // A record would drop this member silently.
    if (Object.hasOwn(given, '__proto__')) {
      context.addIssue({ code: 'custom', message: 'must not be named __proto__', path: ['__proto__'], input: given });
    }
    // Check the number before the members: checking hundreds of thousands of members would take seconds.
    if (Object.keys(given).length > METADATA_ENTRIES_MAX) {
      context.addIssue({ code: 'custom', message: `expected at most ${METADATA_ENTRIES_MAX} entries`, input: given });
    }
    return given;
  },
  z.record(givenLabel().min(1).max(128), givenText().max(1_024)),
);

const fields = {
  payload: z
    .unknown()
    .refine((given) => given !== undefined, 'is required')
    .meta({
      description:
        'any JSON; its text is kept as given, without white space between its tokens. Payloads of built-in actions are checked when the task is submitted: see `SimulatePayload`, `HttpRequestPayload` and `KubernetesJobPayload`',
      example: { order: 17 },
    })
    .transform((given) => (given instanceof Payload ? given : Payload.of(given))),
  priority,
  queue: z
    .string()
    .regex(QUEUE_NAME, `expected ${QUEUE_NAME_RULE}`)
    .refine((name) => !isSystemQueue(name), {
      message: `the queues \`${SYSTEM_QUEUE_PREFIX}*\` belong to the scheduler itself`,
      params: { code: 'reserved_queue' },
    })
    .default(DEFAULT_QUEUE)
    .meta({
      description: `created with its first task; names that begin with \`${SYSTEM_QUEUE_PREFIX}\` are reserved`,
    }),
  action: action.optional().meta({
    description:
      'names the handler; if it is missing, `payload.action`, which has to be a string, names it; if both are missing, the action is `simulate`',
    example: 'simulate',
  }),
  group: givenLabel()
    .min(1)
    .max(GROUP_LENGTH_MAX)
    .optional()
    .meta({ description: 'a text of your own, such as a customer or a tenant, by which lists find the task' }),
  execution_time: z.number().min(0).max(DAY_SECONDS).optional().meta({ description: 'seconds that `simulate` sleeps' }),
  run_at: givenTime().optional().meta({ description: 'earliest time at which the task starts; instead of `delay`' }),
  delay: z
    .number()
    .min(0)
    .max(365 * DAY_SECONDS)
    .optional()
    .meta({ description: 'seconds to wait before the task may start; instead of `run_at`' }),
  max_retries: z.int().min(0).max(100).default(DEFAULT_MAX_RETRIES),
  backoff: backoff.optional(),
  timeout: z
    .number()
    .positive()
    .max(7 * DAY_SECONDS)
    .default(TIMEOUT_DEFAULT_SECONDS)
    .meta({ description: 'seconds that one execution may take' }),
  metadata: metadataMembers
    .meta({
      description: `up to ${METADATA_ENTRIES_MAX} labels of your own, by which lists find the task`,
      example: { team: 'billing' },
    })
    .optional(),
};

type Fields = z.output<z.ZodObject<typeof fields>>;

/** Checks rules that concern several fields. */
function checkTogether({ value, issues }: z.core.ParsePayload<Fields>): void {
  if (value.run_at !== undefined && value.delay !== undefined) {
    issues.push({
      code: 'custom',
      params: { code: 'conflicting_fields' },
      path: ['delay'],
      message: 'must not be given together with run_at',
      input: value,
    });
  }
  if (value.payload !== undefined) issues.push(...payloadProblems(value));
}

/** Returns the problems of the payload: its `action`, and its form if the action is built in. */
function payloadProblems(task: Fields): z.core.$ZodRawIssue[] {
  const { payload } = task;
  const asPart = (issue: z.core.$ZodIssue, path: readonly PropertyKey[]) =>
    ({ ...issue, path: ['payload', ...path], input: task }) as z.core.$ZodRawIssue;
  if (task.action === undefined && payload.action !== undefined) {
    const nameless = action.safeParse(payload.action).error?.issues ?? [];
    if (nameless.length > 0) return nameless.map((issue) => asPart(issue, ['action']));
  }
  const name = executedActionOf(task);
  if (!isBuiltIn(name)) return [];
  // Only the member `simulate` of such a payload matters. Parsing every payload would cost more than the rest of a
  // submission.
  if (name === 'simulate' && !payload.text.includes('"simulate"')) return [];
  return payloadIssues(name, payload.value()).map((issue) => asPart(issue, issue.path));
}

/** Describes in the OpenAPI document what `checkTogether` checks. */
const TOGETHER = { not: { required: ['run_at', 'delay'] } };

export const taskRequest = z
  .strictObject(fields)
  .check(checkTogether)
  .meta({ id: 'TaskRequest', ...TOGETHER });

export type TaskRequest = z.output<typeof taskRequest>;

const batchTask = z
  .strictObject({ ...fields, idempotency_key: idempotencyKey.optional() })
  .check(checkTogether)
  .meta({ id: 'BatchTaskRequest', ...TOGETHER });

export function batchRequest(tasksMax: number) {
  return z.strictObject({ tasks: z.array(batchTask).min(1).max(tasksMax) }).meta({ id: 'BatchRequest' });
}

/** Returns the schemas to check such a batch task by task. */
export function batchTasks(tasksMax: number): TaskArray {
  const envelope = z.strictObject({ tasks: z.array(z.null()).min(1).max(tasksMax) });
  return { member: 'tasks', most: tasksMax, envelope, task: batchTask };
}

/**
 * Returns the action that the task names, or otherwise the one that its payload names; null means the default action.
 */
export function actionOf({ action: given, payload }: Pick<Fields, 'action' | 'payload'>): string | null {
  const named = given ?? payload.action;
  return typeof named === 'string' ? named : null;
}

/** Returns the action that a worker will execute. */
export function executedActionOf(task: Pick<Fields, 'action' | 'payload'>): string {
  return actionOf(task) ?? DEFAULT_ACTION;
}
