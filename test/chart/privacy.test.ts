import { describe, expect, it } from 'vitest';
import { readConfig } from '../../src/config/read-config.ts';
import { containersOf, env, helmTemplate, type Loose, only, podsOf, render } from './render.ts';

const EVERYTHING = 'charts/scheduler/ci/everything-values.yaml';
const STORES = { DATABASE_URL: 'postgresql://u:p@db/d', REDIS_URL: 'redis://redis:6379/0' };

const apiOf = (...set: readonly string[]): Loose =>
  only(render({ set }), 'Deployment', '-api').spec.template.spec.containers[0];
const valueOf = (container: Loose, name: string): string | undefined => env(container, name)?.value;

describe('what the API hides', () => {
  it('is what the values say, and no other process needs it', () => {
    for (const { owner, spec } of podsOf(render({ values: [EVERYTHING] }))) {
      for (const container of containersOf({ spec })) {
        const [fields, metadata] = ['REDACTED_FIELDS', 'PRIVATE_METADATA'].map((name) =>
          valueOf({ env: [], ...container }, name),
        );
        if (container.name !== 'api') {
          expect([owner, fields, metadata]).toEqual([owner, undefined, undefined]);
          continue;
        }
        const config = readConfig({ ...STORES, REDACTED_FIELDS: fields, PRIVATE_METADATA: metadata });
        expect(config.PRIVATE_METADATA).toEqual({ all: false, names: ['customer', 'e-mail'] });
        const rules = config.REDACTED_FIELDS.map(({ action, paths }) => [action, paths.map(({ text }) => text)]);
        expect(Object.fromEntries(rules)).toEqual({
          'payment.charge': ['$.card.number', '$.items[*].sku', `$['odd "name"']`],
          '*': ['$..password'],
        });
      }
    }
  });

  it('is nothing by default', () => {
    const api = apiOf();
    expect([valueOf(api, 'REDACTED_FIELDS'), valueOf(api, 'PRIVATE_METADATA')]).toEqual([undefined, undefined]);
  });

  it('keeps every character of a path', () => {
    const path = String.raw`$['<a & "b">\\n\u0041ö\'']`;
    const api = apiOf(`privacy.redactedFields=${JSON.stringify({ 'größe & 1': [path] })}`);
    const { REDACTED_FIELDS: rules } = readConfig({ ...STORES, REDACTED_FIELDS: valueOf(api, 'REDACTED_FIELDS') });
    expect(rules.map(({ action, paths }) => [action, paths[0]?.text])).toEqual([['größe & 1', path]]);
  });

  it.each([
    ['privacy.redactedFields={"a":"$.b"}', 'want array'],
    ['privacy.redactedFields={"a":[]}', 'minItems'],
    ['privacy.redactedFields={"a":["b"]}', 'does not match pattern'],
    ['privacy.redactedFields=["$.b"]', 'want object'],
    ['privacy.privateMetadata=["a,b"]', 'does not match pattern'],
    ['privacy.privateMetadata="a"', 'want array'],
    ['config.REDACTED_FIELDS="{}"', 'additional properties'],
    ['config.PRIVATE_METADATA="a"', 'additional properties'],
    ['extraEnv=[{"name":"REDACTED_FIELDS","value":"{}"}]', 'REDACTED_FIELDS'],
  ])('%s is refused', (set, error) => {
    expect(helmTemplate({ set: [set] }).error).toContain(error);
  });
});
