import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { memberNames } from './json-positions.ts';
import { branchTooMuch, createRedactJson } from './redact-json.ts';
import { parseRedactionPath, type PathStep, type RedactionPath } from './redaction-path.ts';

function pathOf(text: string): RedactionPath {
  const path = parseRedactionPath(text);
  if (typeof path === 'string') throw new Error(`${text}: ${path}`);
  return path;
}

const redacted = (text: string, ...paths: string[]): string => createRedactJson(paths.map(pathOf))(text).text;

describe('createRedactJson', () => {
  it.each([
    ['$', '{"a":1}', '"[redacted]"'],
    ['$', '7', '"[redacted]"'],
    ['$.card.number', '{"card":{"number":4111,"name":"x"}}', '{"card":{"number":"[redacted]","name":"x"}}'],
    ['$.card', '{"card":{"number":4111},"b":[]}', '{"card":"[redacted]","b":[]}'],
    ['$.a', '{"a":null}', '{"a":"[redacted]"}'],
    [
      '$.items[*].sku',
      '{"items":[{"sku":1},{"sku":[2]},{"x":3}]}',
      '{"items":[{"sku":"[redacted]"},{"sku":"[redacted]"},{"x":3}]}',
    ],
    ['$[1]', '[1,2,3]', '[1,"[redacted]",3]'],
    ['$[1].a[0]', '[{"a":[0]},{"a":[1,2]}]', '[{"a":[0]},{"a":["[redacted]",2]}]'],
    ['$.*', '{"a":1,"b":{"c":2}}', '{"a":"[redacted]","b":"[redacted]"}'],
    ['$.*.c', '[{"c":1},{"c":2}]', '[{"c":"[redacted]"},{"c":"[redacted]"}]'],
    ["$['odd name']", '{"odd name":"x"}', '{"odd name":"[redacted]"}'],
    [
      '$..pin',
      '{"pin":1,"a":[{"pin":{"pin":2}},[{"b":{"pin":3}}]]}',
      '{"pin":"[redacted]","a":[{"pin":"[redacted]"},[{"b":{"pin":"[redacted]"}}]]}',
    ],
    ['$..a..a', '{"a":{"b":{"a":1}},"c":{"a":2}}', '{"a":{"b":{"a":"[redacted]"}},"c":{"a":2}}'],
    ['$..a.b', '{"a":{"a":{"b":1},"b":2},"b":3}', '{"a":{"a":{"b":"[redacted]"},"b":"[redacted]"},"b":3}'],
  ])('%s in %s', (path, text, shown) => {
    expect(redacted(text, path)).toBe(shown);
  });

  it('leaves no value of members with one name, however the name is written', () => {
    expect(redacted('{"card":{"number":1},"card":{"number":2,"number":3}}', '$.card.number')).toBe(
      '{"card":{"number":"[redacted]"},"card":{"number":"[redacted]","number":"[redacted]"}}',
    );
    const escaped = String.raw`{"c\u0061rd":{"n\u0075mber":4111,"number\\":1,"num\"ber":2,"\u006eumber":5}}`;
    expect(redacted(escaped, '$.card.number')).toBe(
      String.raw`{"c\u0061rd":{"n\u0075mber":"[redacted]","number\\":1,"num\"ber":2,"\u006eumber":"[redacted]"}}`,
    );
    expect(redacted('{"__proto__":{"a":1},"a":2}', "$['__proto__'].a")).toBe('{"__proto__":{"a":"[redacted]"},"a":2}');
  });

  it('keeps every other character, numbers and white space above all', () => {
    const text =
      ' { "a" : 1.0 , "n" : 12345678901234567890, "e":1E+2,"z":-0,"s":"\\u00e9\\/}]\\"", "pin" :\t4111.00 } ';
    expect(redacted(text, '$.pin')).toBe(text.replace('4111.00', '"[redacted]"'));
    expect(redacted(text, '$.nothing', '$.a2')).toBe(text);
  });

  it.each([
    ['a text', '{"card":"{\\"number\\":4111}"}', '{"card":"[redacted]"}'],
    ['a number', '{"card":4111}', '{"card":"[redacted]"}'],
    ['a boolean', '{"card":true}', '{"card":"[redacted]"}'],
    ['an array', '{"card":[{"number":4111}]}', '{"card":"[redacted]"}'],
    ['a text as the whole', '"{\\"card\\":{\\"number\\":4111}}"', '"[redacted]"'],
    ['an array as the whole', '[{"card":{"number":4111}}]', '"[redacted]"'],
  ])('where it expects an object, it replaces %s', (_, text, shown) => {
    expect(redacted(text, '$.card.number')).toBe(shown);
  });

  it('replaces what is no array where it expects one, and what has nothing inside where it expects more', () => {
    expect(redacted('{"a":{"0":1}}', '$.a[0]')).toBe('{"a":"[redacted]"}');
    expect(redacted('{"a":["x",{"b":1}]}', '$.a[*].b')).toBe('{"a":["[redacted]",{"b":"[redacted]"}]}');
    expect(redacted('{"a":"x"}', '$.a.*')).toBe('{"a":"[redacted]"}');
  });

  it('leaves what fits another path, nothing at all, and a number that is the whole value', () => {
    expect(redacted('{"card":[{"number":1}],"x":{"card":{"number":2}}}', '$.card.number', '$.card[0].number')).toBe(
      '{"card":[{"number":"[redacted]"}],"x":{"card":{"number":2}}}',
    );
    expect(redacted('{"card":null}', '$.card.number')).toBe('{"card":null}');
    for (const whole of ['0.5', 'true', 'null', '-1e3']) expect(redacted(whole, '$.card.number', '$..pin')).toBe(whole);
    // A path that looks at all levels expects nothing.
    expect(redacted('{"card":"x"}', '$..number')).toBe('{"card":"x"}');
  });

  it('says which paths led to something, each once', () => {
    const redact = createRedactJson(['$.a', '$.b[*]', '$.c', '$.d.e'].map(pathOf));
    expect(redact('{"a":1,"b":[1,2],"a":2,"d":"x"}').paths.map(({ text }) => text)).toEqual(['$.a', '$.b[*]', '$.d.e']);
    expect(redact('{"x":1}').paths).toEqual([]);
  });

  it('takes a part of the text as the whole value', () => {
    const redact = createRedactJson([pathOf('$.payload.card.number')], 1);
    expect(redact('{"payload":0.5}').text).toBe('{"payload":0.5}');
    expect(redact('{"payload":"x"}').text).toBe('{"payload":"[redacted]"}');
    expect(redact('{"card":{"number":1},"payload":{"card":{"number":2}}}').text).toBe(
      '{"card":{"number":1},"payload":{"card":{"number":"[redacted]"}}}',
    );
  });

  it('does not fail at any nesting', () => {
    const deep = `${'{"a":['.repeat(100_000)}{"pin":1}${']}'.repeat(100_000)}`;
    expect(redacted(deep, '$..pin')).toBe(deep.replace('"pin":1', '"pin":"[redacted]"'));
    expect(redacted(deep, '$.a[0].pin')).toBe(deep);
  });
});

/** JSON as it was written: each leaf is the text of a token. */
type Written =
  | { readonly token: string }
  | { readonly items: readonly Written[] }
  | { readonly members: readonly (readonly [name: string, value: Written])[] };

const NAMES = ['a', 'b', 'pin', 'odd "name"', '0', '__proto__'];
/** Writes a name as JSON, perhaps with its first character as an escape, which a parser reads as the same name. */
const writtenName = (name: string, escape: boolean): string =>
  escape
    ? `"\\u${name.charCodeAt(0).toString(16).padStart(4, '0')}${JSON.stringify(name.slice(1)).slice(1)}`
    : JSON.stringify(name);

const TOKENS = ['1.0', '12345678901234567890', '-0', '1E+2', 'true', 'null', '"x"', '"}],\\"\\\\"', '""'];
const { tree } = fc.letrec<{ tree: Written }>((tie) => ({
  tree: fc.oneof(
    { maxDepth: 5, depthSize: 'medium' },
    fc.constantFrom(...TOKENS).map((token) => ({ token })),
    fc.array(tie('tree'), { maxLength: 4 }).map((items) => ({ items })),
    fc.array(fc.tuple(fc.constantFrom(...NAMES), tie('tree')), { maxLength: 4 }).map((members) => ({ members })),
  ),
}));

const steps = fc.oneof(
  fc.constantFrom(...NAMES).map((key): PathStep => ({ kind: 'child', key })),
  fc.nat({ max: 3 }).map((key): PathStep => ({ kind: 'child', key })),
  fc.constant<PathStep>({ kind: 'every' }),
  fc.constantFrom(...NAMES).map((key): PathStep => ({ kind: 'below', key })),
);
const paths = fc.array(
  fc.array(steps, { maxLength: 4 }).map((of): RedactionPath => ({ text: JSON.stringify(of), steps: of })),
  { maxLength: 4 },
);

/** Writes a tree, with white space and escapes by a seed; `hidden` says which values are replaced. */
function print(node: Written, seed: number, hidden: ReadonlySet<Written> = new Set()): string {
  const space = [' ', '', '\n\t', ''][seed % 4] as string;
  if (hidden.has(node)) return '"[redacted]"';
  if ('token' in node) return node.token;
  if ('items' in node) {
    const items = node.items.map((item) => print(item, seed + 1, hidden));
    return `[${space}${items.join(`${space},`)}${space}]`;
  }
  const members = node.members.map(([name, value], i) => {
    return `${writtenName(name, (seed + i) % 3 === 0)}${space}:${print(value, seed + i, hidden)}`;
  });
  return `{${space}${members.join(`,${space}`)}}`;
}

/** Whether a step leads into a value, as far as the value's kind goes. */
const leadsInto = (step: PathStep | undefined, node: Written): boolean => {
  if ('token' in node || (step?.kind !== 'child' && step?.kind !== 'every')) return false;
  return step.kind === 'every' || typeof step.key === ('items' in node ? 'number' : 'string');
};

/** The same rules in another form: it follows the rests of all paths down the tree. */
function hiddenIn(root: Written, all: readonly RedactionPath[]): Set<Written> {
  const hidden = new Set<Written>();
  const visit = (node: Written, open: readonly (readonly PathStep[])[], isRoot: boolean): void => {
    const firsts = open.map(([first]) => first);
    const expecting = firsts.some((step) => step?.kind === 'child' || step?.kind === 'every');
    const fits = firsts.some((step) => leadsInto(step, node));
    const isBare = 'token' in node && (node.token === 'null' || (isRoot && !node.token.startsWith('"')));
    if (firsts.includes(undefined) || (expecting && !fits && !isBare)) {
      hidden.add(node);
      return;
    }
    const members = 'members' in node ? node.members : [];
    const items = 'items' in node ? node.items.map((item, i) => [i, item] as const) : [];
    for (const [key, value] of [...members, ...items]) {
      const next = open.flatMap((path) => {
        const [first, ...rest] = path;
        if (first === undefined) return [];
        const stepped = first.kind === 'every' || first.key === key ? [rest] : [];
        return first.kind === 'below' ? [path, ...stepped] : stepped;
      });
      visit(value, next, false);
    }
  };
  const open = all.map((path) => path.steps);
  visit(root, open, true);
  return hidden;
}

it('replaces exactly what the paths lead to, and changes no other character', () => {
  fc.assert(
    fc.property(tree, paths, fc.nat({ max: 11 }), (node, all, seed) => {
      const text = print(node, seed);
      expect(createRedactJson(all)(text).text).toBe(print(node, seed, hiddenIn(node, all)));
    }),
    { numRuns: 2_000 },
  );
});

it('leaves no canary behind, in whatever form the object comes', () => {
  const place = fc.constantFrom(
    '{"card":{"number":CANARY}}',
    '{"card":{"number":1},"card":{"number":CANARY}}',
    '{"card":"CANARY"}',
    '{"card":["CANARY"]}',
    '"CANARY"',
    '["CANARY"]',
    '{"card":{"number":{"a":["CANARY"]}}}',
    '{"c\\u0061rd":{"\\u006eumber":"CANARY"}}',
  );
  fc.assert(
    fc.property(place, fc.string({ maxLength: 20 }), (form, noise) => {
      const value = JSON.stringify(`canary-${noise}`);
      const text = form.replace(/"?CANARY"?/, () => value);
      expect(redacted(text, '$.card.number')).not.toContain('canary');
    }),
  );
});

/** CPU time of this thread, which does not depend on what else the machine does. */
function cpuMsOf(body: () => unknown): number {
  const before = process.threadCpuUsage();
  body();
  const { user, system } = process.threadCpuUsage(before);
  return (user + system) / 1_000;
}

/** For a megabyte, 25 were measured. What grows faster than the text, or with each path, takes seconds at least. */
const CPU_MS_MAX = 500;

describe('the time that it takes', () => {
  const PATHS = ['$.card.number', '$.items[*].sku', '$..password', "$['odd name']", '$.a[3].b.*.c'].map(pathOf);
  const redact = createRedactJson(PATHS);
  const member = '"name":"some text","amount":12.50,"list":[1,2,3],"deep":{"x":{"y":[true,null]}}';

  const texts: Readonly<Record<string, string>> = {
    'a megabyte of members': `{"items":[${Array.from({ length: 10_000 }, () => `{"sku":1,${member}}`).join(',')}]}`,
    '100,000 items': `{"items":[${Array.from({ length: 100_000 }, () => '{"sku":1}').join(',')}]}`,
    'a megabyte of one text': JSON.stringify({ text: 'x'.repeat(1_048_576) }),
    'a megabyte of quotes': JSON.stringify({ text: '"\\'.repeat(262_144) }),
    'a megabyte of brackets': `${'['.repeat(524_288)}${']'.repeat(524_288)}`,
    '64 levels': `[${Array.from({ length: 1_000 }, () => `${'{"a":'.repeat(63)}1${'}'.repeat(63)}`).join(',')}]`,
  };

  /** The best round shows the cost of compiled code. */
  const bestOf = (work: () => void): number => Math.min(...Array.from({ length: 5 }, () => cpuMsOf(work)));

  it.each(Object.entries(texts))('is short for %s', (_, text) => {
    expect(bestOf(() => redact(text))).toBeLessThan(CPU_MS_MAX * Math.max(1, text.length / 1_048_576));
  });

  it.each([
    ['a hundred names at all levels', Array.from({ length: 100 }, (_, i) => `$..name${i}`)],
    ['a hundred long paths', Array.from({ length: 100 }, (_, i) => `$.a[*].b.*.c${i}.d[${i}]..e`)],
    ['a few that branch', ['$..items[*].sku', '$..card..number', '$..a.*.b', '$..b.*.a']],
  ])('does not grow with the paths: %s', (_, texts_) => {
    const all = texts_.map(pathOf);
    expect(branchTooMuch(all)).toBe(false);
    const many = createRedactJson(all);
    const text = texts['a megabyte of members'] as string;
    expect(bestOf(() => many(text))).toBeLessThan(CPU_MS_MAX);
  });

  it.each([
    ['many stars behind ..', Array.from({ length: 20 }, (_, i) => `$..a${'.*'.repeat(12)}.c${i}`)],
    ['one path with many stars', [`$..a${'.*'.repeat(30)}`]],
    ['many .. in many paths', Array.from({ length: 20 }, (_, i) => `$..a${i}..b..c`)],
  ])('would grow without a bound for %s, which are refused', (_, all) => {
    const parsed = all.map(pathOf);
    expect(cpuMsOf(() => expect(branchTooMuch(parsed)).toBe(true))).toBeLessThan(2_000);
  });
});

describe('memberNames', () => {
  it.each([
    ['{"a":1,"b":{"c":2},"a":[{"d":3}]}', ['a', 'b', 'a']],
    [' { "a" : "}" , "\\u0062" : [ 1 , 2 ] } ', ['a', 'b']],
    ['{}', []],
    ['[{"a":1}]', []],
    ['"a"', []],
  ])('%s', (text, names) => {
    expect(memberNames(text)).toEqual(names);
  });
});
