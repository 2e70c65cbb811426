import type { z } from 'zod';
import { FinalError } from '../core/errors.ts';

/**
 * Checks a payload before a handler uses it. The API has checked the payload already at submission.
 * @throws FinalError `invalid_payload`, which names every wrong path but no values, because they may be secret
 */
export function parsePayload<Schema extends z.ZodType>(schema: Schema, value: unknown): z.output<Schema> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map(
    (issue) => `${['payload', ...issue.path.map(String)].join('.')}: ${issue.message}`,
  );
  throw new FinalError(problems.join('; '), { code: 'invalid_payload' });
}
