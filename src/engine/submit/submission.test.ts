import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ANYBODY } from '../../core/access/client.ts';
import { fieldErrors } from '../../http/field-errors.ts';
import { canonicalJson } from '../../json/canonical-json.ts';
import { atOnce } from '../../lifecycle/slices.ts';
import { prepareSubmission } from './submission.ts';
import { batchRequest, taskRequest } from './task-request.ts';

const NOW_MS = Date.parse('2026-11-24T09:30:00.000Z');
const ID = `${NOW_MS.toString(16)
  .padStart(12, '0')
  .replace(/^(.{8})/, '$1-')}-7000-8000-000000000001`;
const TRACE = { traceId: 'trace', traceparent: null };

function prepare(request: object, key?: string) {
  const parsed = taskRequest.parse(request);
  return atOnce(prepareSubmission(parsed, { id: ID, trace: TRACE, key, client: ANYBODY }));
}

const hashOf = (request: object): string =>
  prepare(request, 'k').submission.idempotency?.requestHash.toString('hex') as string;

function errorsOf(request: unknown, schema: typeof taskRequest | ReturnType<typeof batchRequest> = taskRequest) {
  const result = schema.safeParse(request);
  return result.success ? [] : fieldErrors('body', result.error, request).map(({ path, code }) => `${path} ${code}`);
}

describe('taskRequest', () => {
  it('accepts priorities by name and by number', () => {
    const priorities = ['High', 'Medium', 'Low', 1, 2, 3, undefined].map(
      (priority) => taskRequest.parse({ payload: 1, priority }).priority,
    );
    expect(priorities).toEqual([1, 2, 3, 1, 2, 3, 2]);
  });

  it('accepts any JSON as a payload, including null', () => {
    for (const payload of [null, 0, '', [], {}, { __proto__: null }]) expect(errorsOf({ payload })).toEqual([]);
  });

  it.each([
    [{}, ['/payload required']],
    [{ payload: 1, colour: 'red', 'a/b': 1 }, ['/colour unknown_field', '/a~1b unknown_field']],
    [JSON.parse('{"payload":1,"__proto__":{}}'), ['/__proto__ unknown_field']],
    [{ payload: 1, priority: 'high' }, ['/priority invalid_union']],
    [
      { payload: 1, priority: 4, execution_time: -1, timeout: 0 },
      ['/priority invalid_union', '/execution_time too_small', '/timeout too_small'],
    ],
    [{ payload: 1, queue: '.hidden' }, ['/queue invalid_format']],
    [{ payload: 1, action: 'a\u0000b' }, ['/action invalid_format']],
    [{ payload: 1, action: 'a\ud800' }, ['/action invalid_value']],
    [{ payload: { action: 'a\nb' } }, ['/payload/action invalid_format']],
    [{ payload: { action: '' } }, ['/payload/action too_small']],
    ...[7, null, true, ['mail'], { name: 'mail' }].map((named): [unknown, string[]] => [
      { payload: { action: named } },
      ['/payload/action invalid_type'],
    ]),
    [{ payload: { action: 'http.request' } }, ['/payload/url required']],
    [
      { payload: { url: 'ftp://x', uri: 1, headers: { host: 'x' } }, action: 'http.request', priority: 'x' },
      ['/priority invalid_union'],
    ],
    [
      { payload: { url: 'ftp://x', uri: 1, headers: { host: 'x' } }, action: 'http.request' },
      ['/payload/url invalid_value', '/payload/headers/host invalid_value', '/payload/uri unknown_field'],
    ],
    [{ payload: 'https://a.example', action: 'http.request' }, ['/payload invalid_type']],
    [{ payload: { image: 5 }, action: 'kubernetes.job' }, ['/payload/image invalid_type']],
    [{ payload: { simulate: { fail: 'maybe' } } }, ['/payload/simulate/fail invalid_value']],
    [{ payload: 1, run_at: '2026-11-24T09:30:00' }, ['/run_at invalid_format']],
    [{ payload: 1, run_at: '9999-12-31T23:59:59-01:00' }, ['/run_at invalid_value']],
    [{ payload: 1, action: '' }, ['/action too_small']],
    [{ payload: 1, group: '' }, ['/group too_small']],
    [{ payload: 1, group: 'x'.repeat(129) }, ['/group too_big']],
    [{ payload: 1, group: 'a\nb' }, ['/group invalid_format']],
    [{ payload: 1, group: 7 }, ['/group invalid_type']],
    [{ payload: 1, run_at: '2026-11-24T09:30:00Z', delay: 1 }, ['/delay conflicting_fields']],
    [{ payload: 1, max_retries: 1.5 }, ['/max_retries invalid_type']],
    [{ payload: 1, backoff: { base: 1, speed: 2 } }, ['/backoff/speed unknown_field']],
    [{ payload: 1, metadata: { a: 1 } }, ['/metadata/a invalid_type']],
    [{ payload: 1, metadata: { a: '\0' } }, ['/metadata/a invalid_format']],
    [{ payload: 1, metadata: JSON.parse('{"__proto__":"x"}') }, ['/metadata/__proto__ invalid_value']],
    [
      // If there are too many entries, none of them is checked.
      { payload: 1, metadata: Object.fromEntries(Array.from({ length: 33 }, (_, i) => [`-${i}`, 5])) },
      ['/metadata invalid_value'],
    ],
    [[], [' invalid_type']],
    [null, [' invalid_type']],
  ])('refuses %j', (request, errors) => {
    expect(errorsOf(request)).toEqual(errors);
  });

  it('names tasks of a batch by their index', () => {
    const batch = batchRequest(3);
    expect(
      errorsOf({ tasks: [{ payload: 1 }, { payload: 1, priority: 'x' }, { idempotency_key: '' }] }, batch),
    ).toEqual([
      '/tasks/1/priority invalid_union',
      '/tasks/2/payload required',
      '/tasks/2/idempotency_key invalid_format',
    ]);
    expect(errorsOf({ tasks: [] }, batch)).toEqual(['/tasks too_small']);
    expect(errorsOf({ tasks: [1, 2, 3, 4].map((payload) => ({ payload })) }, batch)).toEqual(['/tasks too_big']);
  });
});

describe('prepareSubmission', () => {
  it('takes the time of creation from the id, and lets the task start at once', () => {
    const { submission, answer } = prepare({ payload: { action: 'mail' } });
    expect(answer).toMatchObject({
      created_at: '2026-11-24T09:30:00.000Z',
      run_at: '2026-11-24T09:30:00.000Z',
      status: 'PENDING',
      action: 'mail',
    });
    expect(submission.task).toMatchObject({ runAtMs: null, action: 'mail', timeoutMs: 1_800_000, backoff: null });
  });

  it('prefers the action of the field to that of the payload', () => {
    expect(prepare({ payload: { action: 'mail' }, action: 'print' }).answer.action).toBe('print');
    expect(prepare({ payload: { action: 7 }, action: 'print' }).answer.action).toBe('print');
    expect(prepare({ payload: {} }).answer.action).toBeNull();
    expect(prepare({ payload: ['action'] }).answer.action).toBeNull();
  });

  it.each([
    [{ delay: 1.5 }, NOW_MS + 1_500],
    [{ run_at: '2026-11-24T10:30:01+01:00' }, NOW_MS + 1_000],
    [{ run_at: '2020-01-01T00:00:00Z' }, null],
    [{ delay: 0 }, null],
  ])('with %j it starts at %s', (when, runAtMs) => {
    const { submission, answer } = prepare({ payload: 1, ...when });
    expect(submission.task.runAtMs).toBe(runAtMs);
    expect(answer.status).toBe(runAtMs === null ? 'PENDING' : 'SCHEDULED');
  });

  it('turns seconds into milliseconds, and completes a backoff with defaults', () => {
    const { submission, answer } = prepare({ payload: 1, timeout: 0.0001, backoff: { base: 0.5 } });
    expect(submission.task).toMatchObject({
      timeoutMs: 1,
      backoff: { baseMs: 500, factor: 2, maxMs: 3_600_000, jitter: 0 },
    });
    expect(answer.backoff).toEqual({ base: 0.5, factor: 2, max: 3_600, jitter: 0 });
  });

  /** Returns the hash of a request that is given as JSON text, as clients send it. */
  const hashOfText = (text: string): string => hashOf(JSON.parse(text));

  it.each([
    ['members in another order', '{"payload":{"a":1,"b":[1,2]}}', '{"priority":2,"payload":{"b":[1,2],"a":1}}'],
    ['numbers', '{"payload":[1,100,0.5,0],"delay":1}', '{"payload":[1.0,1e2,5e-1,-0],"delay":1.0}'],
    ['texts', '{"payload":"é/"}', '{"payload":"\\u00e9\\/"}'],
    ['priority', '{"payload":1,"priority":"High"}', '{"payload":1,"priority":1}'],
    ['offset', '{"payload":1,"run_at":"2027-01-01T00:00:00Z"}', '{"payload":1,"run_at":"2027-01-01T01:00:00+01:00"}'],
    [
      'offset of UTC',
      '{"payload":1,"run_at":"2027-01-01T00:00:00Z"}',
      '{"payload":1,"run_at":"2027-01-01t00:00:00.000-00:00"}',
    ],
    ['action', '{"payload":{"action":"mail"}}', '{"payload":{"action":"mail"},"action":"mail"}'],
    [
      'defaults',
      '{"payload":1}',
      `{"payload":1,"priority":"Medium","queue":"default","action":"simulate","execution_time":1,"delay":0,"max_retries":3,
        "backoff":{"base":2,"factor":2,"max":3600,"jitter":0},"timeout":1800,"metadata":{}}`,
    ],
    ['defaults of a backoff', '{"payload":1,"backoff":{}}', '{"payload":1,"backoff":{"base":2.0}}'],
  ])('gives requests with the same meaning the same hash: %s', (_, one, other) => {
    expect(hashOfText(other)).toBe(hashOfText(one));
  });

  it('gives different requests different hashes', () => {
    const requests = [
      { payload: 1 },
      { payload: '1' },
      { payload: [1] },
      { payload: { a: [1, 2] } },
      { payload: { a: [2, 1] } },
      { payload: 1, priority: 1 },
      { payload: 1, queue: 'other' },
      { payload: 1, action: 'other' },
      { payload: 1, execution_time: 2 },
      { payload: 1, run_at: '2027-01-01T00:00:00Z' },
      { payload: 1, run_at: '2027-01-01T00:00:00+01:00' },
      { payload: 1, delay: 1 },
      { payload: 1, max_retries: 4 },
      { payload: 1, backoff: { base: 3 } },
      { payload: 1, backoff: { jitter: 0.5 } },
      { payload: 1, timeout: 5 },
      { payload: 1, metadata: { a: '' } },
      { payload: 1, group: 'a' },
      { payload: 1, group: 'b' },
    ];
    expect(new Set(requests.map(hashOf)).size).toBe(requests.length);
  });
});

describe('canonicalJson', () => {
  it('is JSON of the same value, and equal for any order of members', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 4 }), (value) => {
        const text = JSON.stringify(value);
        expect(JSON.parse(canonicalJson(value))).toEqual(JSON.parse(text));
        expect(canonicalJson(reversed(JSON.parse(text)))).toBe(canonicalJson(value));
      }),
    );
  });
});

function reversed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(reversed);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .toReversed()
      .map(([name, member]) => [name, reversed(member)]),
  );
}
