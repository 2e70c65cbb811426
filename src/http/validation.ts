import { z } from 'zod';
import type { TaskArray } from '../given/task-array.ts';
import type { FieldError } from '../json/field-error.ts';
import { ERRORS_LISTED_MAX } from '../json/json-scan.ts';
import { atOnce, inSlices, type Steps } from '../lifecycle/slices.ts';
import type { GivenBody } from './body/request-body.ts';
import { fieldErrors, invalidRequest, type RequestPart } from './field-errors.ts';
import type { RequestContext } from './middleware/request-scope.ts';
import { familiesOf, gatherFamilies } from './parameter-families.ts';
import { Problem } from './problem.ts';
import type { Route } from './route.ts';

export interface Validated {
  readonly params: unknown;
  readonly query: unknown;
  readonly headers: unknown;
  readonly body: unknown;
}

const NO_FIELDS = z.strictObject({});

/** Up to this many tasks are checked at once; more are checked in slices. */
const FEW_TASKS = 50;

/**
 * Makes a function that validates a request. It checks all parts before it throws a `Problem`, so that one answer names
 * all errors, up to the number that is listed.
 */
export function createValidation(
  route: Route,
): (ctx: RequestContext, given: GivenBody | undefined) => Validated | Promise<Validated> {
  const { params = NO_FIELDS, headers, body: bodySchema = z.undefined() } = route;
  const query = strict(route.query ?? NO_FIELDS);
  const families = familiesOf(route.query);
  const content = strict(bodySchema);
  const array = typeof route.tasks === 'object' ? route.tasks : null;
  const hasParams = route.path.includes('{');

  const steps = function* (ctx: RequestContext, given: GivenBody | undefined): Steps<Validated> {
    const errors: FieldError[] = [];
    const check = (part: RequestPart, schema: z.ZodType, input: unknown, at: readonly PropertyKey[] = []): unknown => {
      const result = schema.safeParse(input);
      if (!result.success) errors.push(...fieldErrors(part, result.error, input, at));
      return result.data;
    };
    const validated = {
      // What a request cannot have needs no check: this saves a busy route two runs of a schema.
      params: hasParams ? check('path', params, (ctx as unknown as { params: unknown }).params) : {},
      query:
        route.query === undefined && ctx.querystring === ''
          ? {}
          : check('query', query, gatherFamilies(ctx.query, families)),
      headers: headers === undefined ? {} : check('header', headers, ctx.req.headers),
      body:
        array === null || given == null || given.items === null
          ? check('body', content, given?.value)
          : yield* checkTasks(array, given.value, given.items, errors, check),
    };
    if (errors.length === 0) return validated;
    if (given === undefined && errors.every(({ path }) => path === '')) {
      throw new Problem('body_required', 'a JSON body is required');
    }
    throw invalidRequest(errors);
  };

  return (ctx, given) => {
    const work = steps(ctx, given);
    return (given?.items?.length ?? 0) > FEW_TASKS ? inSlices(work) : atOnce(work);
  };
}

function* checkTasks(
  { member, envelope, task }: TaskArray,
  value: unknown,
  given: readonly unknown[],
  errors: readonly FieldError[],
  check: (part: RequestPart, schema: z.ZodType, input: unknown, at?: readonly PropertyKey[]) => unknown,
): Steps<unknown> {
  const whole = check('body', envelope, { ...(value as object), [member]: given.map(() => null) });
  const tasks: unknown[] = [];
  for (const [i, one] of given.entries()) {
    if (errors.length > ERRORS_LISTED_MAX) break;
    tasks.push(check('body', task, one, [member, i]));
    yield;
  }
  return { ...(whole as object), [member]: tasks };
}

/** Makes an object schema refuse unknown fields. */
function strict(schema: z.ZodType): z.ZodType {
  return schema instanceof z.ZodObject ? schema.strict() : schema;
}
