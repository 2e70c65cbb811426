import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readBoundaries, trespassesIn } from './boundaries.ts';

const boundaries = readBoundaries(readFileSync(new URL('../docs/internals.md', import.meta.url), 'utf8'));
const messagesOf = (path: string, ...lines: string[]): string[] =>
  trespassesIn(path, lines.join('\n'), boundaries).map(({ line, message }) => `${line}: ${message.replace(/:.*/, '')}`);

describe('the table of imports', () => {
  it('is read from docs/internals.md with every room', () => {
    expect(boundaries.map(({ room }) => room)).toEqual(
      expect.arrayContaining([
        'core',
        'engine/submit',
        'features/feature.ts',
        'features/*',
        'http',
        'main.ts',
        'worker',
      ]),
    );
  });

  it('names only rooms that exist', () => {
    const source = join(import.meta.dirname, '../src');
    const named = new Set(boundaries.flatMap(({ room, rooms }) => [room, ...rooms]));
    expect([...named].filter((room) => globSync(room, { cwd: source }).length === 0)).toEqual([]);
  });

  it('refuses a row that cannot be read', () => {
    const table =
      '## Where things are\n\n| room | what | may import | packages |\n|---|---|---|---|\n| api | x | y |\n';
    expect(() => readBoundaries(table)).toThrow('| api | x | y |');
  });

  it.each([
    ['its own room', 'engine/submit/submitter.ts', "import { a } from './submission.ts';"],
    ['a room below its own', 'engine/sweep/sweep.ts', "import { a } from './prune/prune.ts';"],
    ['a room that the row names', 'http/app.ts', "import { a } from '../core/clock.ts';"],
    [
      'a room below one that the row names',
      'features/dlq/dlq.ts',
      "import { a } from '../../engine/order/task-queue.ts';",
    ],
    ['the file that all features share', 'features/dlq/feature.ts', "import { a } from '../feature.ts';"],
    ['a package', 'postgres/schema/migrate.ts', "import { a } from '@mikro-orm/migrations';"],
    ['a part of a package', 'postgres/pool.ts', "import pg from 'pg/lib/x';"],
    ['a module of Node', 'worker/worker.ts', "import { a } from 'node:os';"],
  ])('lets a file import %s', (_what, path, line) => {
    expect(messagesOf(path, line)).toEqual([]);
  });

  it.each([
    ['HTTP in the engine', 'engine/submit/submission.ts', "import { a } from '../../http/problem.ts';"],
    ['another feature', 'features/dlq/dlq.ts', "import { a } from '../tasks/task-view.ts';"],
    ['another process', 'worker/worker.ts', "const a = await import('../api/api-process.ts');"],
    ['a driver outside its room', 'engine/order/task-queue.ts', "import { Redis } from 'ioredis';"],
    ['input and output in core', 'core/ids.ts', "import { readFileSync } from 'node:fs';"],
    ['a package whose name begins like an allowed one', 'postgres/pool.ts', "import pg from 'pgx';"],
    ['the inside of a feature', 'api/features.ts', "import { a } from '../features/dlq/requeue-store.ts';"],
    ['a feature in what all features share', 'features/feature.ts', "export * from './dlq/routes.ts';"],
    ['an import with a comment behind it', 'http/app.ts', "import { a } from '../worker/worker.ts'; // x"],
    ['an import with attributes', 'http/app.ts', "import a from '../worker/a.json' with { type: 'json' };"],
    ['a call of import over two lines', 'http/app.ts', "await import(\n  '../worker/worker.ts'\n);"],
    ['a call of import with a template', 'http/app.ts', 'await import(`../worker/worker.ts`);'],
    ['the code of a thread', 'http/app.ts', "new Worker(new URL('../worker/thread.ts', import.meta.url));"],
    ['what is made for tests', 'worker/worker.ts', "import { a } from '../../test/harness/parts.ts';"],
  ])('refuses %s', (_what, path, line) => {
    expect(messagesOf(path, '// A first line.', line)).toEqual([expect.stringMatching(/^2: .* may not import /)]);
  });

  it('checks imports and ignores other text that looks like one', () => {
    expect(messagesOf('http/app.ts', "throw new Error(`not one from '../worker/worker.ts'`);")).toEqual([]);
    expect(messagesOf('http/app.ts', "export const FIRST = 'worker';")).toEqual([]);
    expect(messagesOf('http/app.ts', 'const m = await import(name);')).toEqual([
      '1: import() takes a plain text, so that the table of imports can be enforced',
    ]);
    expect(messagesOf('http/app.ts', 'import {', "} from '../worker/worker.ts';")).toHaveLength(1);
    expect(messagesOf('http/app.ts', "export type { A } from '../worker/worker.ts';")).toHaveLength(1);
    expect(messagesOf('http/app.ts', "import '../worker/worker.ts';")).toHaveLength(1);
  });

  it('refuses a directory that is not in the table', () => {
    expect(messagesOf('engine/new/x.ts')).toEqual(['1: docs/internals.md does not say what engine/new/ may import']);
  });
});
