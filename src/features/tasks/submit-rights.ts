import type { Client } from '../../core/access/client.ts';
import { idMilliseconds, type IdSource } from '../../core/ids.ts';
import { DEFAULT_QUEUE } from '../../core/task.ts';
import { milliseconds, timeoutMs } from '../../engine/submit/meaning.ts';
import { executedActionOf, type TaskRequest } from '../../engine/submit/task-request.ts';
import { invalidRequest } from '../../http/field-errors.ts';
import { Problem } from '../../http/problem.ts';
import type { FieldError } from '../../json/field-error.ts';
import { ERRORS_LISTED_MAX, shorten } from '../../json/json-scan.ts';

/** What the tasks of a request are checked against. */
interface SubmitRights {
  readonly client: Client;
  /** JSON pointer of the nth task. */
  readonly pathOf: (index: number) => string;
}

/**
 * Checks each task of a request: its queue, its action, and the limits of the client. Nothing is looked up, and nothing is
 * stored yet. The problem names every task that is refused for the same reason.
 * @param ids an id begins with the time by PostgreSQL's clock, from which delays are counted
 * @throws Problem `queue_not_allowed`, `action_not_allowed` or `invalid_request`
 */
export function refuseForbidden(ids: IdSource, requests: readonly TaskRequest[], rights: SubmitRights): void {
  const { queues, actions, limits } = rights.client;
  if (!queues.everything) refuseQueues(requests, rights);
  if (!actions.everything) refuseActions(requests, rights);
  if (limits.delayMaxMs !== null)
    refuseDelays(requests, rights, { mostMs: limits.delayMaxMs, nowMs: idMilliseconds(ids.next(DEFAULT_QUEUE)) });
  if (limits.timeoutMaxMs !== null) refuseTimeouts(requests, rights, limits.timeoutMaxMs);
}

function refuseQueues(requests: readonly TaskRequest[], { client, pathOf }: SubmitRights): void {
  const errors = requests.flatMap(({ queue }, i): FieldError[] =>
    client.queues.matches(queue)
      ? []
      : [{ path: `${pathOf(i)}/queue`, code: 'queue_not_allowed', message: 'is not allowed', given: queue }],
  );
  refuse('queue_not_allowed', 'the client may not use the queue', errors);
}

/** A task that names no action runs as the default action, so the client has to be allowed to submit that one. */
function refuseActions(requests: readonly TaskRequest[], { client, pathOf }: SubmitRights): void {
  const errors = requests.flatMap((request, i): FieldError[] => {
    const action = executedActionOf(request);
    if (client.actions.matches(action)) return [];
    const member = request.action === undefined && request.payload.action !== undefined ? '/payload/action' : '/action';
    return [
      { path: pathOf(i) + member, code: 'action_not_allowed', message: 'is not allowed', given: shorten(action) },
    ];
  });
  refuse('action_not_allowed', 'the client may not submit the action', errors);
}

function refuse(code: 'queue_not_allowed' | 'action_not_allowed', what: string, errors: readonly FieldError[]): void {
  const [first] = errors;
  if (first === undefined) return;
  const more = errors.length === 1 ? '' : `; ${errors.length} tasks are refused for such a reason`;
  const shown = errors.slice(0, ERRORS_LISTED_MAX);
  const rest = errors.length > shown.length ? `, of which the first ${shown.length} are listed` : '';
  throw new Problem(code, `${what} ${JSON.stringify(first.given)}${more}${rest}`, { errors: shown });
}

function refuseDelays(
  requests: readonly TaskRequest[],
  { pathOf }: SubmitRights,
  { mostMs, nowMs }: { readonly mostMs: number; readonly nowMs: number },
): void {
  const errors = requests.flatMap(({ run_at, delay }, i): FieldError[] => {
    const delayMs = run_at === undefined ? milliseconds(delay ?? 0) : Date.parse(run_at) - nowMs;
    if (delayMs <= mostMs) return [];
    const [member, given] = run_at === undefined ? ['delay', String(delay)] : ['run_at', run_at];
    return [tooLong(`${pathOf(i)}/${member}`, 'starts later than the client may ask for', mostMs, given)];
  });
  if (errors.length > 0) throw invalidRequest(errors);
}

/** A task without a time limit has the default one, which may be too long as well. */
function refuseTimeouts(requests: readonly TaskRequest[], { pathOf }: SubmitRights, mostMs: number): void {
  const errors = requests.flatMap(({ timeout }, i): FieldError[] =>
    timeoutMs(timeout) <= mostMs
      ? []
      : [tooLong(`${pathOf(i)}/timeout`, 'is longer than the client may ask for', mostMs, String(timeout))],
  );
  if (errors.length > 0) throw invalidRequest(errors);
}

function tooLong(path: string, message: string, mostMs: number, given: string): FieldError {
  return { path, code: 'client_limit', message, expected: `<= ${mostMs / 1_000} seconds`, given };
}
