import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { BUILT_IN_PAYLOADS, isBuiltIn, payloadIssues, type BuiltInAction } from './built-in.ts';

const found = (action: BuiltInAction, payload: unknown): string[] =>
  payloadIssues(action, payload).map(({ path, message }) => `${path.join('.')}: ${message}`);

const members = (count: number): Record<string, unknown> =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [`M${i}`, 5]));

describe('payloadIssues', () => {
  it.each([
    ['http.request', { url: 'https://a.example', headers: { A: 'b' }, body: null, timeout: 604_800 }],
    ['http.request', { url: 'https://a.example', action: 'http.request' }],
    ['kubernetes.job', { image: 'busybox:1', command: ['a'], env: { A: '' }, resources: { limits: { cpu: '1' } } }],
    ['simulate', { simulate: { fail_times: 2 }, other: [1] }],
    ['simulate', 42],
    ['simulate', [{ simulate: 1 }]],
  ] as const)('finds nothing wrong for %s with %j', (action, payload) => {
    expect(found(action, payload)).toEqual([]);
  });

  it.each<[BuiltInAction, unknown, RegExp[]]>([
    ['http.request', {}, [/^url: /]],
    ['http.request', 'https://a.example', [/^: .*expected object/]],
    ['http.request', { url: 'https://a.example', uri: 1, retries: 2 }, [/^: .*"uri", "retries"/]],
    ['http.request', { url: 'https://a.example', method: 'get' }, [/^method: /]],
    ['http.request', { url: 'https://a.example', headers: members(101) }, [/^headers: expected at most 100 members$/]],
    ['http.request', { url: 'https://a.example', headers: { A: 5 } }, [/^headers.A: /]],
    ['http.request', { url: 'https://a.example', headers: { 'b c': '' } }, [/^headers.b c: /]],
    ['http.request', JSON.parse('{"url":"http://a","headers":{"__proto__":"x"}}'), [/^headers.__proto__: must not/]],
    ['http.request', JSON.parse('{"url":"http://a","__proto__":1}'), [/^: .*__proto__/]],
    ['http.request', { url: 'https://a.example', timeout: 604_801 }, [/^timeout: /]],
    ['kubernetes.job', { image: '', command: 'sh' }, [/^image: /, /^command: /]],
    ['kubernetes.job', { image: 'a', env: { TASK_ID: 'x', 'A-B': '' } }, [/^env.TASK_ID: /, /^env.A-B: /]],
    ['kubernetes.job', { image: 'a', env: members(501) }, [/^env: expected at most 500 members$/]],
    ['kubernetes.job', { image: 'a', args: Array(1_001).fill(5) }, [/^args: expected at most 1000 items$/]],
    ['simulate', { simulate: { fail: 'maybe' } }, [/^simulate.fail: /]],
    ['simulate', { simulate: 'no' }, [/^simulate: /]],
  ])('reports the problems of %s with %j', (action, payload, messages) => {
    const issues = found(action, payload);
    expect(issues).toHaveLength(messages.length);
    for (const [i, message] of messages.entries()) expect(issues[i]).toMatch(message);
  });
});

describe('isBuiltIn', () => {
  it('is true only for the names of the built-in actions', () => {
    const names = ['simulate', 'http.request', 'kubernetes.job', 'email.send', 'toString', '__proto__', ''];
    expect(names.filter(isBuiltIn)).toEqual(Object.keys(BUILT_IN_PAYLOADS));
  });
});

describe('docs/actions.md', () => {
  const text = readFileSync(new URL('../../docs/actions.md', import.meta.url), 'utf8');

  /** Returns a row for every member, and for the members inside it. */
  function rowsOf(schema: z.core.JSONSchema.BaseSchema, prefix = ''): string[] {
    return Object.entries(schema.properties ?? {}).flatMap(([name, member]) => {
      const { description = '', ...inner } = member as z.core.JSONSchema.BaseSchema;
      const isRequired = schema.required?.includes(name) === true;
      return [
        `| \`${prefix}${name}\` | ${isRequired ? 'required; ' : ''}${description} |`,
        ...rowsOf(inner, `${prefix}${name}.`),
      ];
    });
  }

  it.each(Object.entries(BUILT_IN_PAYLOADS))('describes every member of the payload of %s', (_, payload) => {
    const { $defs = {} } = z.toJSONSchema(payload, { io: 'input' });
    const [schema] = Object.values($defs);
    expect(text).toContain(rowsOf(schema as z.core.JSONSchema.BaseSchema).join('\n'));
  });
});
