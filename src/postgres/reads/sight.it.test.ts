import { beforeAll, describe, expect, it } from 'vitest';
import { openParts, type TestParts } from '../../../test/harness/parts.ts';
import { createTestStores } from '../../../test/harness/stores.ts';
import { ANYBODY, NOBODY } from '../../core/access/client.ts';
import { createQueuePatterns } from '../../core/access/name-patterns.ts';
import { FULL_SIGHT, sightOf, visibleQueues } from './sight.ts';

let parts: TestParts;

beforeAll(async () => {
  parts = await openParts((await createTestStores()).env);
});

const NAMES = [
  'default',
  'defaults',
  'Default',
  'email',
  'email.send',
  'email.send.fast',
  'emailxsend',
  'emails.send',
  'x.email.send',
  'a-b_c',
  'a-bxc',
  'system',
  'systems.a',
  'system.webhooks',
  'system.operations',
];

describe('visibleQueues', () => {
  it.each([
    [[]],
    [['*']],
    [['default']],
    [['email']],
    [['email.*']],
    [['email.send']],
    [['a-b_c']],
    [['default', 'email.*', 'a-b_c']],
    [['system.*']],
    [['*', 'system.webhooks']],
    [['*', 'system.*']],
    [['*', 'email.*', 'default']],
  ])('matches in PostgreSQL what %j matches', async (texts) => {
    const patterns = createQueuePatterns(texts);
    const rows = await parts.database.run<{ name: string }>(
      {
        name: 'test-visible',
        text: `SELECT name FROM unnest($1::text[]) AS n (name) WHERE $2::text IS NULL OR name ~ $2::text`,
      },
      [NAMES, visibleQueues(patterns)],
    );
    expect(rows.map(({ name }) => name).toSorted()).toEqual(NAMES.filter(patterns.matches).toSorted());
  });

  it('needs no condition for a client that sees every queue', () => {
    expect(sightOf(ANYBODY)).toEqual(FULL_SIGHT);
    expect(sightOf(NOBODY)).toEqual({ queues: '^$', contents: false });
  });
});
