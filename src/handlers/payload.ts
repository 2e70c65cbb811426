import type { z } from 'zod';
import { FinalError } from '../core/errors.ts';

/**
 * Checks a payload, or a part of it, before a handler works with it.
 * @param path where the value stands, such as `payload.simulate`
 * @throws FinalError `invalid_payload` naming every wrong path; the values are not repeated, they may be secret
 */
export function parsePayload<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
  path = 'payload',
): z.output<Schema> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map(
    (issue) => `${[path, ...issue.path.map(String)].join('.')}: ${issue.message}`,
  );
  throw new FinalError(problems.join('; '), { code: 'invalid_payload' });
}
