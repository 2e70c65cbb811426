import fc from 'fast-check';
import { expect, it } from 'vitest';
import { JsonText, Payload, storedJson, toJson } from './json-text.ts';

it('writes plain data as JSON.stringify does', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      expect(toJson(value)).toBe(JSON.stringify(value));
    }),
  );
  expect(toJson({ a: undefined, b: [undefined] })).toBe('{"b":[null]}');
});

it.each([
  'null',
  '{"a":1e400,"b":12345678901234567890,"c":1.0,"d":-0}',
  '{"b":1,"2":2,"1":3,"b":4}',
  '{"__proto__":{"x":12345678901234567890}}',
  `${'['.repeat(50_000)}${']'.repeat(50_000)}`,
])('JSON of a store is sent unchanged: %.40s', (text) => {
  expect(toJson({ a: [storedJson(text)], b: null })).toBe(`{"a":[${text}],"b":null}`);
});

it('a null from a store stays null', () => {
  expect(storedJson(null)).toBeNull();
});

it('a payload knows the action that it names', () => {
  expect(Payload.of({ action: 'mail' })).toMatchObject({ text: '{"action":"mail"}', bytes: 17, action: 'mail' });
  expect(
    [1, 'action', null, ['action'], Object.create({ action: 'x' })].map((value) => Payload.of(value).action),
  ).toEqual(Array(5).fill(undefined));
  expect(new JsonText('1')).not.toBeInstanceOf(Payload);
});
