import { z } from 'zod';

/** Seconds that a task sleeps which does not say how long it takes. */
export const DEFAULT_EXECUTION_SECONDS = 1;

/** What a payload may ask for under `simulate`; without it the task succeeds. */
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

/** What a task of the action `simulate`, or of none, has as its payload. Only the member `simulate` is looked at. */
export const simulatePayload = z
  .preprocess(
    // Other members are nobody's business, and neither is a payload that is no object.
    (given) => (isObject(given) && Object.hasOwn(given, 'simulate') ? { simulate: given['simulate'] } : {}),
    z.looseObject({ simulate: wish.optional().describe('how it fails, if it is to fail') }),
  )
  .meta({
    id: 'SimulatePayload',
    description: 'payload of the action `simulate`, which only sleeps; any other JSON will do too',
  });

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
