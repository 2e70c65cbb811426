import { z } from 'zod';
import { jsonPointer, type FieldError } from '../json/field-error.ts';
import { ERRORS_LISTED_MAX, shorten } from '../json/json-scan.ts';
import { Payload } from '../json/json-text.ts';
import { Problem } from './problem.ts';

/** The part of a request that holds a value. */
export type RequestPart = 'path' | 'query' | 'header' | 'body';

/** One error more than are listed, which shows that the list is not complete. */
const ERRORS_MADE_MAX = ERRORS_LISTED_MAX + 1;

/**
 * Turns Zod's issues into the errors of a problem, one for each wrong field. Stops at one error more than are listed.
 * @param at path of the input within its part of the request
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
    // The name of the entry is wrong, not its value. Zod reports the reason in nested issues.
    const [first = issue] = issue.issues;
    return [{ path, code: issue.code, message: `invalid name: ${first.message}`, given: show(issue.path.at(-1)) }];
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

/** Zod reports all checks of this project as `custom`; such a check may name its own code in `params`. */
function codeOf(issue: z.core.$ZodIssue): string {
  if (issue.code !== 'custom') return issue.code;
  return typeof issue.params?.['code'] === 'string' ? issue.params['code'] : 'invalid_value';
}

function messageOf(issue: z.core.$ZodIssue): string {
  return issue.code === 'invalid_type' && issue.expected === 'int' ? 'expected a whole number' : issue.message;
}

function pathOf(part: RequestPart, path: readonly PropertyKey[]): string {
  if (part === 'body') return jsonPointer(path);
  // A client sends a parameter as one text, so the path names the whole parameter even if the schema splits it. The
  // members of an object are parameters of a family.
  const [name, member] = path;
  return `${part}:${String(name)}${typeof member === 'string' ? `.${member}` : ''}`;
}

/** Returns the value at a path. If the schema split a text on the way, returns the whole text. */
function valueAt(input: unknown, path: readonly PropertyKey[]): unknown {
  let value = input;
  for (const key of path) {
    if (typeof value === 'string') return value;
    value = plain((value as Record<PropertyKey, unknown> | null | undefined)?.[key]);
  }
  return value;
}

/** The parsed values of payloads with errors. Each payload is parsed once for all of its errors. */
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
      // The message of a pattern already says in words what is expected.
      return issue.format === 'regex' ? undefined : issue.format;
    default:
      return undefined;
  }
}

function show(value: unknown): string {
  if (Array.isArray(value)) return `array of ${value.length}`;
  return typeof value === 'object' && value !== null ? 'object' : shorten(JSON.stringify(value) ?? String(value));
}

/** Makes the problem that reports all errors of a request. */
export function invalidRequest(errors: readonly FieldError[]): Problem {
  const most = ERRORS_LISTED_MAX;
  const detail =
    errors.length > most
      ? `more than ${most} fields are wrong; the first ${most} are listed`
      : `${errors.length} ${errors.length === 1 ? 'field is' : 'fields are'} wrong`;
  return new Problem('invalid_request', detail, { errors: errors.slice(0, most) });
}
