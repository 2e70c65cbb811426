import { beforeAll, expect, it } from 'vitest';
import { atEndOfFile } from '../../../test/harness/end-of-file.ts';
import { openParts, type TestParts } from '../../../test/harness/parts.ts';
import { createTestStores } from '../../../test/harness/stores.ts';
import { insertTasks } from '../../../test/harness/task-rows.ts';
import type { TaskStatus } from '../../core/task.ts';
import { createReader, type Reader } from '../../postgres/reads/reader.ts';
import { FULL_SIGHT } from '../../postgres/reads/sight.ts';
import { createMetrics } from '../../telemetry/metrics.ts';
import { createOutage } from '../../telemetry/outage.ts';
import { createTaskReads } from './task-reads.ts';

const TASKS = 7;
const STATUSES: readonly TaskStatus[] = ['PENDING', 'COMPLETED', 'FAILED', 'CANCELLED'];

let parts: TestParts;
let reader: Reader;

/** Tasks of a queue that keeps no completed tasks. Every fourth is waiting, completed, failed, cancelled. */
beforeAll(async () => {
  parts = await openParts((await createTestStores()).env);
  reader = createReader(parts.config, createOutage('postgresql', parts.log, createMetrics(), Date.now), parts.log);
  atEndOfFile(() => reader.close());
  const id = `(left(lowest_task_id(now())::text, 24) || lpad(to_hex(n), 12, '0'))::uuid`;
  const status = `(ARRAY['PENDING', 'COMPLETED', 'FAILED', 'CANCELLED'])[1 + n % 4]`;
  const text = insertTasks({ id, status, keep_completed: 'false' }, `FROM generate_series(1, ${TASKS}) AS n`);
  await parts.database.run({ name: '', text }, []);
  await parts.database.run({ name: '', text: `DELETE FROM finished WHERE status = 'COMPLETED'` }, []);
});

const chosen = STATUSES.flatMap((one, i) => [[one], ...STATUSES.slice(i + 1).map((other) => [one, other])]);

/** A slice may end anywhere: also between two places that have the same task. */
it.each([...chosen, STATUSES])('a list of %s %s misses no task, wherever its slices end', async (...statuses) => {
  const expected = [...Array(TASKS).keys()]
    .map((i) => i + 1)
    .filter((n) => statuses.includes(STATUSES[n % 4] as TaskStatus))
    .toReversed();
  for (let sliceRows = 1; sliceRows <= 2 * TASKS; sliceRows++) {
    const reads = createTaskReads(reader, { sliceRows, searchMs: 60_000 });
    const { rows, next } = await reads.list({ statuses }, FULL_SIGHT, null, TASKS, false);
    expect({ sliceRows, found: rows.map(({ id }) => Number(`0x${id.slice(24)}`)), next }).toEqual({
      sliceRows,
      found: expected,
      next: null,
    });
  }
});
