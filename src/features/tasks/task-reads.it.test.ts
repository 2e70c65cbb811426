import { beforeAll, expect, it } from 'vitest';
import { createApiFixture, type ApiFixture } from '../../../test/api-fixture.ts';
import { atEndOfFile } from '../../../test/harness/end-of-file.ts';
import { readConfig } from '../../config/read-config.ts';
import { createClientClass } from '../../postgres/connection/connection.ts';
import { createOrm, type Reader } from '../../postgres/reads/reader.ts';
import { FULL_SIGHT } from '../../postgres/reads/sight.ts';
import { createTaskReads, type TaskReads } from './task-reads.ts';

let api: ApiFixture;
let reads: TaskReads;
let asked: string[];

beforeAll(async () => {
  api = await createApiFixture();
  const config = readConfig({ DATABASE_URL: api.databaseUrl, REDIS_URL: 'redis://unused' });
  const Client = createClientClass(config);
  class Listening extends Client {
    override query(...given: unknown[]): never {
      const [text] = given as [string | { readonly text?: string }];
      asked.push(typeof text === 'string' ? text : (text.text ?? ''));
      return (super.query as (...values: unknown[]) => never)(...given);
    }
  }
  const orm = createOrm(config, undefined, Listening);
  atEndOfFile(() => orm.close(true));
  const inTransaction: Reader['snapshot'] = (body) =>
    orm.em
      .fork()
      .getKysely()
      .transaction()
      .execute((db) => body({ read: (_name, query) => query(db) }));
  reads = createTaskReads({
    read: (_name, query) => query(orm.em.fork().getKysely()),
    snapshot: inTransaction,
    close: async () => {},
  });
});

// All that one statement reads is of the same moment.
it.each(['SCHEDULED', 'PROCESSING', 'COMPLETED', 'FAILED'] as const)(
  'a task that is %s and its executions are read in one statement',
  async (status) => {
    const id = await api.tasks.taskIn(status);
    asked = [];
    const found = await reads.findWithAttempts(id, 100, FULL_SIGHT);
    expect(asked.map((text) => text.slice(0, 6))).toEqual(['select']);
    expect(found?.task).toMatchObject({ id, status });
    const { body } = await api.get(`/tasks/${id}/logs`);
    expect(found?.attempts).toHaveLength((body.items as unknown[]).length);
  },
);
