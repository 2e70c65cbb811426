import { expect, it } from 'vitest';
import { z } from 'zod';
import { fieldErrors } from './field-errors.ts';

const schema = z.strictObject({
  retries: z.int(),
  tasks: z.array(z.unknown()).max(2),
  name: z.string().refine((text) => text !== 'x', { message: 'is taken', params: { code: 'taken' } }),
  note: z.string().refine((text) => text !== 'x', 'is not good'),
});

it('reports for every wrong field the expected and the given value', () => {
  const input = { retries: 1.5, tasks: [1, 2, 3], name: 'x', note: 'x', color: 'red' };
  const result = schema.safeParse(input);
  expect(fieldErrors('body', result.error as z.ZodError, input)).toEqual([
    { path: '/retries', code: 'invalid_type', message: 'expected a whole number', expected: 'int', given: '1.5' },
    expect.objectContaining({ path: '/tasks', code: 'too_big', expected: '<= 2', given: 'array of 3' }),
    { path: '/name', code: 'taken', message: 'is taken', given: '"x"' },
    { path: '/note', code: 'invalid_value', message: 'is not good', given: '"x"' },
    { path: '/color', code: 'unknown_field', message: 'there is no such field' },
  ]);
});

const parsed = z.strictObject({
  status: z
    .string()
    .transform((text) => text.split(','))
    .pipe(z.array(z.enum(['A', 'B']))),
  name: z.string().min(1).regex(/x/),
});

it('shows a value as the client sent it, not as it was parsed, and reports each field once', () => {
  const input = { status: 'A,C,D', name: '' };
  const { error } = parsed.safeParse(input);
  const common = {
    status: expect.objectContaining({ given: '"A,C,D"' }),
    name: expect.objectContaining({ given: '""' }),
  };
  expect(fieldErrors('query', error as z.ZodError, input)).toEqual([common.status, common.name]);
  expect(fieldErrors('query', error as z.ZodError, input).map(({ path }) => path)).toEqual([
    'query:status',
    'query:name',
  ]);
  expect(fieldErrors('body', error as z.ZodError, input)[0]).toMatchObject({ path: '/status/1', given: '"A,C,D"' });
});

it('names a member of an object in a query as a parameter', () => {
  const family = z.strictObject({ label: z.record(z.string().min(1), z.string()) });
  const input = { label: { a: ['1', '2'], '': 'x' } };
  expect(fieldErrors('query', family.safeParse(input).error as z.ZodError, input).map(({ path }) => path)).toEqual([
    'query:label.a',
    'query:label.',
  ]);
});

it('stops at one error more than are listed', () => {
  const keys = Array.from({ length: 1_000_000 }, (_, i) => `k${i}`);
  const members = new z.ZodError([{ code: 'unrecognized_keys', keys, path: [], message: '', input: {} }]);
  expect(fieldErrors('body', members, {})).toHaveLength(101);
  const items = z.array(z.number()).safeParse(Array.from({ length: 200 }, () => 'x'));
  expect(fieldErrors('body', items.error as z.ZodError, [])).toHaveLength(101);
});

it('reports what is wrong with the name of an entry', () => {
  const labels = z.record(
    z
      .string()
      .regex(/^[a-z]*$/, 'expected lower-case letters')
      .max(3),
    z.string(),
  );
  const input = { AB: 'right', abcd: 'right', abc: 1 };
  expect(fieldErrors('body', labels.safeParse(input).error as z.ZodError, input)).toEqual([
    { path: '/AB', code: 'invalid_key', message: 'invalid name: expected lower-case letters', given: '"AB"' },
    { path: '/abcd', code: 'invalid_key', message: expect.stringContaining('invalid name: '), given: '"abcd"' },
    expect.objectContaining({ path: '/abc', code: 'invalid_type' }),
  ]);
});
