import { z } from 'zod';
import { Payload } from '../json/json-text.ts';
import { jsonPointer, type FieldError } from '../json/json-pointer.ts';
import { Problem } from './problem.ts';
import { ERRORS_LISTED_MAX, shorten } from '../json/json-scan.ts';

/** Where a value stands in a request. */
export type RequestPart = 'path' | 'query' | 'header' | 'body';

/** One more than are listed: so many tell that there are more. */
const ERRORS_MADE_MAX = ERRORS_LISTED_MAX + 1;

/**
 * Turns what Zod found into the errors of a problem, one for every wrong field, until there are more than are listed.
 * @param at where in the part the input stands
 */
export function fieldErrors(
  part: RequestPart,
  error: z.ZodError,
  input: unknown,
  at: readonly PropertyKey[] = [],
): FieldError[] {
  const byPath = new Map<string, FieldError>();
  for (const issue of error.issues) {
    for (const found of errorsOf(part, issue, input, at)) if (!byPath.has(found.path)) byPath.set(found.path, found);
    if (byPath.size >= ERRORS_MADE_MAX) break;
  }
  return [...byPath.values()];
}

function errorsOf(
  part: RequestPart,
  issue: z.core.$ZodIssue,
  input: unknown,
  at: readonly PropertyKey[],
): FieldError[] {
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.slice(0, ERRORS_MADE_MAX).map((key) => ({
      path: pathOf(part, [...at, ...issue.path, key]),
      code: 'unknown_field',
      message: part === 'query' ? 'there is no such parameter' : 'there is no such field',
    }));
  }
  const path = pathOf(part, [...at, ...issue.path]);
  if (issue.code === 'invalid_key') {
    // The value may be right: it is the name that is wrong, and what is wrong with it is said one level below.
    const [first = issue] = issue.issues;
    return [{ path, code: issue.code, message: `as a name: ${first.message}`, given: show(issue.path.at(-1)) }];
  }
  const given = valueAt(input, issue.path);
  const expected = expectedBy(issue);
  if (given === undefined) {
    return [{ path, code: 'required', message: 'is required', ...(expected === undefined ? {} : { expected }) }];
  }
  return [
    {
      path,
      code: codeOf(issue),
      message: messageOf(issue),
      ...(expected === undefined ? {} : { expected }),
      given: show(given),
    },
  ];
}

/** Checks of our own may name a code; Zod calls all of them custom. */
function codeOf(issue: z.core.$ZodIssue): string {
  if (issue.code !== 'custom') return issue.code;
  return typeof issue.params?.['code'] === 'string' ? issue.params['code'] : 'invalid_value';
}

function messageOf(issue: z.core.$ZodIssue): string {
  return issue.code === 'invalid_type' && issue.expected === 'int' ? 'expected a whole number' : issue.message;
}

function pathOf(part: RequestPart, path: readonly PropertyKey[]): string {
  // Of a parameter only the whole was given, however it was taken apart.
  return part === 'body' ? jsonPointer(path) : `${part}:${String(path[0])}`;
}

/** The value that was given there, or in which that was looked for: a text may have been taken apart. */
function valueAt(input: unknown, path: readonly PropertyKey[]): unknown {
  let value = input;
  for (const key of path) {
    if (typeof value === 'string') return value;
    value = plain((value as Record<PropertyKey, unknown> | null | undefined)?.[key]);
  }
  return value;
}

/** Payloads that have errors, parsed once for all of them. */
const parsedPayloads = new WeakMap<Payload, unknown>();

function plain(value: unknown): unknown {
  if (!(value instanceof Payload)) return value;
  if (!parsedPayloads.has(value)) parsedPayloads.set(value, value.value());
  return parsedPayloads.get(value);
}

function expectedBy(issue: z.core.$ZodIssue): string | undefined {
  switch (issue.code) {
    case 'invalid_type':
      return issue.expected;
    case 'invalid_value':
      return issue.values.map(String).join(', ');
    case 'too_small':
      return `${issue.inclusive === false ? '>' : '>='} ${issue.minimum}`;
    case 'too_big':
      return `${issue.inclusive === false ? '<' : '<='} ${issue.maximum}`;
    case 'invalid_format':
      // Of a pattern of ours the message says in words what it expects.
      return issue.format === 'regex' ? undefined : issue.format;
    default:
      return undefined;
  }
}

function show(value: unknown): string {
  if (Array.isArray(value)) return `array of ${value.length}`;
  return typeof value === 'object' && value !== null ? 'object' : shorten(JSON.stringify(value) ?? String(value));
}

/** What is wrong with a request, as a whole. */
export function invalidRequest(errors: readonly FieldError[]): Problem {
  const most = ERRORS_LISTED_MAX;
  const detail =
    errors.length > most
      ? `more than ${most} fields are wrong; the first ${most} are listed`
      : `${errors.length} ${errors.length === 1 ? 'field is' : 'fields are'} wrong`;
  return new Problem('invalid_request', detail, { errors: errors.slice(0, most) });
}
