import { describe, expect, it } from 'vitest';
import { ROLES } from '../../../core/access/scopes.ts';
import { clientOfPerson, parseGrants, type Grants } from './grants.ts';

const parse = (entries: unknown): Grants => parseGrants(JSON.stringify(entries));

function problemsOf(text: string): string[] {
  try {
    parseGrants(text);
  } catch (error) {
    return (error as Error).message
      .split('\n')
      .slice(1)
      .map((line) => line.trim());
  }
  return [];
}

describe('grants', () => {
  const grants = parse([
    { value: 'scheduler-admins', role: 'admin' },
    { value: 'shop', role: 'operator', queues: ['shop.*'] },
    { value: 'watch', scopes: ['metrics', 'read', 'read'], actions: ['mail.send'] },
  ]);

  it('the first one in the order of the file counts, whatever the order of the values', () => {
    expect(grants.match(['watch', 'shop'])?.value).toBe('shop');
    expect(grants.match(['shop', 'scheduler-admins', 'watch'])?.scopes).toEqual(ROLES.admin);
  });

  it.each([
    [[]],
    [['Shop']],
    [['shop ']],
    [['shop.x', 'sho', '*', '']],
    [['scheduler-admins,shop']],
    [['constructor', '__proto__']],
  ])('%j match nothing, because values are compared exactly', (values) => {
    expect(grants.match(values)).toBeNull();
  });

  it('a grant is found by its value, and not after it is gone', () => {
    expect(grants.named('shop')?.queues).toEqual(['shop.*']);
    expect(parse([{ value: 'other', role: 'viewer' }]).named('shop')).toBeNull();
  });

  it('make a client that has exactly what the grant says', () => {
    const client = clientOfPerson('anna@example.org', grants.match(['shop'])!);
    expect(client.name).toBe('oidc:anna@example.org');
    expect([...client.scopes]).toEqual(ROLES.operator);
    expect([client.queues.matches('shop.mail'), client.queues.matches('mail')]).toEqual([true, false]);
    expect([client.actions.matches('mail'), client.actions.matches('http.request')]).toEqual([true, false]);
    expect(Object.values(client.limits).every((limit) => limit === null)).toBe(true);
    const watching = clientOfPerson('b', grants.match(['watch'])!);
    expect([[...watching.scopes], watching.queues.all]).toEqual([['read', 'metrics'], true]);
  });
});

describe('a file that is not usable', () => {
  it.each<[string, unknown, string]>([
    ['no list', { value: 'a', role: 'admin' }, 'expected a list, such as [{'],
    ['no entries', [], 'expected at least one entry'],
    ['no object', ['admins'], 'entry 1: expected an object with value, role, scopes, queues, actions; given "admins"'],
    ['no value', [{ role: 'admin' }], 'entry 1: value: expected a text: the value of the claim; given nothing'],
    ['an empty value', [{ value: '', role: 'admin' }], 'entry 1: value: expected the value of the claim; given ""'],
    [
      'a number as value',
      [{ value: 7, role: 'admin' }],
      'entry 1: value: expected a text: the value of the claim; given 7',
    ],
    [
      'an unknown role',
      [{ value: 'a', role: 'root' }],
      'entry 1: role: expected one of submitter, viewer, operator, worker, admin; given "root"',
    ],
    [
      'neither role nor scopes',
      [{ value: 'a' }],
      'entry 1: expected either `role` or `scopes`, and not both; given {"value":"a"}',
    ],
    ['both', [{ value: 'a', role: 'admin', scopes: ['read'] }], 'entry 1: expected either `role` or `scopes`'],
    ['no scopes', [{ value: 'a', scopes: [] }], 'entry 1: scopes: expected a list of some of submit'],
    ['an unknown scope', [{ value: 'a', scopes: ['root'] }], 'entry 1: scopes: 0: expected a list of some of submit'],
    [
      'a pattern within a name',
      [{ value: 'a', role: 'admin', queues: ['sh*p'] }],
      'entry 1: queues: 0: expected a name, a beginning such as `email.*`',
    ],
    [
      'a text as queues',
      [{ value: 'a', role: 'admin', queues: 'shop' }],
      'entry 1: queues: expected a list of patterns; given "shop"',
    ],
    [
      'no queues',
      [{ value: 'a', role: 'admin', queues: [] }],
      'entry 1: queues: expected at least one pattern; given []',
    ],
    [
      'a misspelt term',
      [{ value: 'a', role: 'admin', queue: ['x'] }],
      'entry 1: unknown "queue"; expected only value, role, scopes, queues, actions',
    ],
    [
      'a value twice',
      [
        { value: 'a', role: 'admin' },
        { value: 'b', role: 'viewer' },
        { value: 'a', role: 'viewer' },
      ],
      'entry 3: value: expected a value of its own, but entry 1 has it too; given "a"',
    ],
    [
      'too many',
      Array.from({ length: 1_001 }, (_, i) => ({ value: `v${i}`, role: 'viewer' })),
      'expected at most 1000 entries',
    ],
  ])('%s: the problem names the entry, and what was expected and given', (_, content, problem) => {
    const problems = problemsOf(JSON.stringify(content));
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(problem);
  });

  it('names all wrong entries at once, and shows no endless text', () => {
    const problems = problemsOf(
      JSON.stringify([
        { value: 'a', role: 'x' },
        { value: 'b', role: 'y'.repeat(10_000) },
      ]),
    );
    expect(problems.map((problem) => problem.slice(0, 13))).toEqual(['entry 1: role', 'entry 2: role']);
    expect(problems[1]!.length).toBeLessThan(300);
  });

  it('is no JSON', () => {
    expect(problemsOf('[{"value": "a",}]')[0]).toContain('expected JSON: ');
    expect(() => parseGrants('[')).toThrow(/OIDC_GRANTS is not usable:\n {2}expected JSON/);
  });
});
