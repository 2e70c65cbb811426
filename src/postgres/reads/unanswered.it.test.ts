import { expect, it } from 'vitest';
import { atEndOfFile } from '../../../test/harness/end-of-file.ts';
import { openParts } from '../../../test/harness/parts.ts';
import { createTestStores } from '../../../test/harness/stores.ts';
import { StoreUnavailableError } from '../../core/errors.ts';
import { createMetrics } from '../../telemetry/metrics.ts';
import { createOutage } from '../../telemetry/outage.ts';
import { createReader, type Reader } from './reader.ts';

const PIDS = `SELECT pid FROM pg_stat_activity WHERE application_name = 'scheduler-reads' AND datname = current_database()`;

const countSubmissions = (reader: Pick<Reader, 'read'>) =>
  reader.read('test-count', (db) =>
    db
      .selectFrom('submissions')
      .select((eb) => eb.fn.countAll<number>().as('count'))
      .executeTakeFirstOrThrow(),
  );

it('a read sees what was committed before it, also after a transaction whose begin was not answered', async () => {
  const parts = await openParts((await createTestStores()).env);
  const outage = createOutage('postgresql', parts.log, createMetrics(), Date.now);
  const reader = createReader(parts.config, outage, parts.log, createMetrics(), 100);
  atEndOfFile(() => reader.close());
  expect(await countSubmissions(reader)).toEqual({ count: 0 });

  // The server does not answer the begin in time, and runs it later.
  const [{ pid } = { pid: 0 }] = await parts.database.run<{ pid: number }>({ name: '', text: PIDS }, []);
  expect(pid).toBeGreaterThan(0);
  process.kill(pid, 'SIGSTOP');
  await expect(reader.snapshot(countSubmissions)).rejects.toThrow(StoreUnavailableError);
  process.kill(pid, 'SIGCONT');

  for (const count of [0, 1, 2]) {
    expect(await countSubmissions(reader)).toEqual({ count });
    await parts.store.submit([{ task: parts.newTask(), idempotency: null }]);
  }
});
