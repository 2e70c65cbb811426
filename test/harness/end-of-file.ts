import { afterAll, afterEach } from 'vitest';

type Cleanup = (aTestFailed: boolean) => Promise<void>;

const cleanups: Cleanup[] = [];
let aTestFailed = false;

/** Calls `cleanup` after all tests of the file, passed or failed. The last registered cleanup runs first. */
export function atEndOfFile(cleanup: Cleanup): void {
  cleanups.push(cleanup);
}

afterEach((context) => {
  if (context.task.result?.state === 'fail') aTestFailed = true;
});

afterAll(async () => {
  const errors: unknown[] = [];
  for (const cleanup of cleanups.splice(0).toReversed()) {
    try {
      await cleanup(aTestFailed);
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length > 0) throw new AggregateError(errors, 'a cleanup of the test file failed');
});
