import { z } from 'zod';

/** Seconds that a task without an execution time sleeps. */
export const DEFAULT_EXECUTION_SECONDS = 1;

/** The member `simulate` of a payload. Without it the task succeeds. */
const wish = z
  .strictObject({
    fail_times: z.int().min(0).max(1_000_000).optional().describe('fails this many times, then succeeds'),
    fail: z
      .enum(['always', 'final'])
      .optional()
      .describe('`always`: fails on every attempt; `final`: fails at once, without retries'),
    message: z.string().min(1).max(1_000).optional().describe('message of the failure'),
  })
  .refine(({ fail, fail_times: times }) => fail === undefined || times === undefined, {
    error: 'expected `fail` or `fail_times`, not both',
  });

/** The payload of a task with the action `simulate` or without an action. Only the member `simulate` is checked. */
export const simulatePayload = z
  .preprocess(
    // Ignore other members, and any payload that is not an object.
    (given) => (isObject(given) && Object.hasOwn(given, 'simulate') ? { simulate: given['simulate'] } : {}),
    z.looseObject({ simulate: wish.optional().describe('how the task fails; by default it succeeds') }),
  )
  .meta({
    id: 'SimulatePayload',
    description: 'payload of the action `simulate`, which only sleeps; any other JSON is accepted too',
  });

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
