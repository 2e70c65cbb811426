import type { z } from 'zod';
import { FinalError } from '../core/errors.ts';

/**
 * Checks a payload before a handler works with it. One that came through the API was checked when it was submitted.
 * @throws FinalError `invalid_payload` naming every wrong path; the values are not repeated, they may be secret
 */
export function parsePayload<Schema extends z.ZodType>(schema: Schema, value: unknown): z.output<Schema> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map(
    (issue) => `${['payload', ...issue.path.map(String)].join('.')}: ${issue.message}`,
  );
  throw new FinalError(problems.join('; '), { code: 'invalid_payload' });
}
