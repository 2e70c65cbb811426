import { describe, expect, it } from 'vitest';
import { ANYBODY } from './client.ts';
import { createProjections, type Projection, type PrivateMetadata } from './projection.ts';
import { parseRedactionPath, type RedactionPath } from './redaction-path.ts';
import type { Scope } from './scopes.ts';

interface Rules {
  readonly fields?: Readonly<Record<string, readonly string[]>>;
  readonly metadata?: PrivateMetadata;
}

/** What a client with these scopes sees under these settings. */
function seen(scopes: readonly Scope[], { fields = {}, metadata = { all: false, names: [] } }: Rules = {}): Projection {
  const redactedFields = Object.entries(fields).map(([action, paths]) => ({
    action,
    paths: paths.map((path) => parseRedactionPath(path) as RedactionPath),
  }));
  return createProjections({ redactedFields, privateMetadata: metadata })({ scopes: new Set(scopes) });
}
const seenWith = (...scopes: Scope[]): Projection => seen(scopes);

const EVERYTHING = ['read', 'payload', 'admin'] as const;

const stored = JSON.stringify({
  name: 'TypeError',
  message: 'card 4111 refused',
  code: 'E_CARD',
  stack: 'TypeError: card 4111 refused\n    at pay (/srv/app/pay.js:1:2)',
  cause: { name: 'Error', message: 'secret cause', code: 7, stack: '/srv/app/x.js:3' },
  errors: [{ name: 'Error', message: 'secret part\n    at part (/srv/app/part.js:1:1)' }],
  more: { secret: 'of another version' },
});

describe('contents and errors', () => {
  it('without `payload`, are hidden but for class and code of errors', () => {
    const projection = seenWith('read');
    expect(projection).toMatchObject({ contents: false, directories: false, mark: { redacted: true } });
    expect(projection.show(null, { payload: '{"a":1}', result: '1', progress: null, metadata: '{"a":"b"}' })).toEqual({
      parts: { payload: null, result: null, progress: null, metadata: '{"a":"b"}' },
      mark: { redacted: true },
    });
    expect(JSON.parse(projection.error(stored) ?? '')).toEqual({
      name: 'TypeError',
      code: 'E_CARD',
      cause: { name: 'Error', code: 7 },
      errors: [{ name: 'Error' }],
    });
    expect(projection.error(null)).toBeNull();
  });

  it.each(['"a text"', '[1]', '{"name":{"a":"b"},"code":["c"],"message":"m","errors":"d"}', '3', 'null'])(
    'without `payload`, show nothing of the unexpected error %s',
    (text) => {
      expect(seenWith('read', 'admin').error(text)).toMatch(/^(null|\{\})$/);
    },
  );

  it('with `payload`, are shown, but paths only with `admin`', () => {
    const projection = seenWith('read', 'payload');
    expect(projection).toMatchObject({ contents: true, directories: false, mark: {} });
    expect(projection.show('a', { payload: '{"a":1.0}' })).toEqual({ parts: { payload: '{"a":1.0}' }, mark: {} });
    expect(JSON.parse(projection.error(stored) ?? '')).toMatchObject({
      message: 'card 4111 refused',
      stack: 'TypeError: card 4111 refused\n    at pay (pay.js:1:2)',
      cause: { message: 'secret cause', stack: 'x.js:3' },
      errors: [{ message: 'secret part\n    at part (part.js:1:1)' }],
    });
    expect(seen(EVERYTHING).error(stored)).toBe(stored);
    expect(
      createProjections({ redactedFields: [], privateMetadata: { all: false, names: [] } })(ANYBODY).error(stored),
    ).toBe(stored);
  });

  it('end at errors that are nested too deeply, which could not be written otherwise', () => {
    const deep = `${'{"name":"E","cause":'.repeat(50_000)}null${'}'.repeat(50_000)}`;
    expect(seenWith('read').error(deep)?.length).toBeLessThan(1_000);
  });
});

describe('redacted fields', () => {
  const fields = {
    'payment.charge': ['$.card.number'],
    'payment.*': ['$.iban'],
    '*': ['$.password'],
    'http.request': ["$.headers['X-Key']"],
    simulate: ['$.simulate.pin'],
  };

  it.each([
    ['payment.charge', ['payload.card.number', 'payload.iban', 'payload.password']],
    ['payment.refund', ['payload.iban', 'payload.password']],
    ['payment', ['payload.password']],
    ['payments.charge', ['payload.password']],
    // `*` also protects actions that have to be granted by name.
    ['http.request', ['payload.password', "payload.headers['X-Key']"]],
    // A task without an action is executed as `simulate`.
    [null, ['payload.password', 'payload.simulate.pin']],
  ])('of the action %s are those of all patterns that match it', (action, hidden) => {
    const payload = '{"card":{"number":1},"iban":2,"password":3,"headers":{"X-Key":4},"simulate":{"pin":5},"n":1.0}';
    for (const scopes of [['read', 'payload'], EVERYTHING] as const) {
      const { parts, mark } = seen(scopes, { fields }).show(action, { payload });
      expect(mark.redacted_fields?.toSorted()).toEqual(hidden.toSorted());
      expect(parts.payload).toContain('"n":1.0');
      expect(parts.payload?.split('[redacted]')).toHaveLength(hidden.length + 1);
    }
  });

  it('are hidden in result and progress too, each of which is named', () => {
    const text = '{"password":"x"}';
    const { parts, mark } = seen(EVERYTHING, { fields }).show('a', { payload: text, result: text, progress: text });
    expect(Object.values(parts)).toEqual(Array(3).fill('{"password":"[redacted]"}'));
    expect(mark).toEqual({ redacted_fields: ['payload.password', 'result.password', 'progress.password'] });
  });

  it('leave the text of an action without paths as it is, and need no action if there are none', () => {
    const payload = '{"a" : 1}';
    const without = seen(EVERYTHING, { fields: { other: ['$.a'] } });
    expect(without.show('mine', { payload })).toEqual({ parts: { payload }, mark: {} });
    expect(without.submitted('mine', () => expect.fail('the answer was written'))).toBeNull();
    expect([without.needsAction, seen(EVERYTHING).needsAction]).toEqual([true, false]);
    // Nothing is shown anyway.
    expect(seen(['read'], { fields }).needsAction).toBe(false);
  });

  it('are hidden in the answer to a submission, from whoever submits', () => {
    const answer = '{"id":"1","payload":{"password":"x","n":1.0},"metadata":{"customer":"c","b":"d"},"password":"y"}';
    const metadata = { all: false, names: ['customer'] };
    expect(seen(['submit', 'read'], { fields, metadata }).submitted('a', () => answer)).toBe(
      '{"id":"1","payload":{"password":"[redacted]","n":1.0},"metadata":{"customer":"[redacted]","b":"d"},"password":"y",' +
        '"redacted_fields":["payload.password","metadata.customer"]}',
    );
    expect(seen(EVERYTHING, { fields, metadata }).submitted('a', () => answer)).toBe(
      '{"id":"1","payload":{"password":"[redacted]","n":1.0},"metadata":{"customer":"c","b":"d"},"password":"y",' +
        '"redacted_fields":["payload.password"]}',
    );
    expect(seen(EVERYTHING, { fields }).submitted('a', () => '{"payload":0.5}')).toBe('{"payload":0.5}');
  });
});

describe('private metadata', () => {
  const some = { metadata: { all: false, names: ['customer', 'odd name'] } };
  const all = { metadata: { all: true, names: [] } };
  const metadata = '{"customer":"c","team":"t","odd name":"o","customer":"twice"}';

  it('are hidden without `payload`, with their names', () => {
    expect(seen(['read', 'admin'], some).show(null, { metadata })).toEqual({
      parts: { metadata: '{"customer":"[redacted]","team":"t","odd name":"[redacted]","customer":"[redacted]"}' },
      mark: { redacted: true, redacted_fields: ['metadata.customer', 'metadata.odd name'] },
    });
    expect(seen(['read'], all).show(null, { metadata, payload: '1' })).toEqual({
      parts: { metadata: metadata.replaceAll(/:"\w+"/g, ':"[redacted]"'), payload: null },
      mark: { redacted: true, redacted_fields: ['metadata.*'] },
    });
    expect(seen(['read'], all).show(null, { metadata: '{}' }).mark).toEqual({ redacted: true });
    expect(seen(['read', 'payload'], all).show(null, { metadata })).toEqual({ parts: { metadata }, mark: {} });
  });

  it('and the texts of errors cannot be filtered by without `payload`', () => {
    const [customer, team] = [{ metadata: { team: 't', customer: 'c' } }, { metadata: { team: 't' } }];
    expect(seen(['read'], some).hiddenPartOf(customer)).toBe('metadata.customer');
    expect(seen(['read'], some).hiddenPartOf(team)).toBeNull();
    expect(seen(['read'], all).hiddenPartOf(team)).toBe('metadata.team');
    expect(seen(['read']).hiddenPartOf(customer)).toBeNull();
    expect(seen(['read']).hiddenPartOf({ error_contains: 'x' })).toBe('error_contains');
    expect(seen(['read', 'payload'], all).hiddenPartOf({ ...customer, error_contains: 'x' })).toBeNull();
    expect(seen(['read'], all).hiddenPartOf({ metadata: {} })).toBeNull();
  });

  it('and texts of errors are hidden in the filters that the audit log records', () => {
    const details = { filter: { queue: 'q', error_contains: '4111' }, place: 'keep' };
    expect(seen(['read', 'admin']).auditDetails(details)).toEqual({
      details: { filter: { queue: 'q', error_contains: '[redacted]' }, place: 'keep' },
      mark: { redacted_fields: ['details.filter.error_contains'] },
    });
    const byMetadata = { filter: { metadata: { customer: 'c' } } };
    expect(seen(['admin'], some).auditDetails(byMetadata).details).toEqual({ filter: { metadata: '[redacted]' } });
    for (const [scopes, given] of [
      [EVERYTHING, details],
      [['admin'], { filter: { queue: 'q' } }],
      [['admin'], null],
      [['admin'], { filter: null }],
      [['admin'], 'a text'],
    ] as const)
      expect(seen(scopes).auditDetails(given)).toEqual({ details: given, mark: {} });
  });
});
