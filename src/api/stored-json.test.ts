import { expect, it } from 'vitest';
import { storedJson } from './stored-json.ts';

it.each([
  'null',
  '{"a":1e400,"b":12345678901234567890,"c":1.0,"d":-0}',
  '[1,1.5,"1.0",true,[{"x":0.1}]]',
  '{"__proto__":{"x":12345678901234567890}}',
])('%s leaves as it came', (text) => {
  expect(JSON.stringify(storedJson(text))).toBe(text);
});

it('null stays null', () => {
  expect(storedJson(null)).toBeNull();
});
