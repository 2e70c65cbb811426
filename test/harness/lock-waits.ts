import type { Database, Run } from '../../src/postgres/database.ts';
import { untilTrue } from './processes.ts';

const WAITING = {
  name: 'test-waiting',
  text: `SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
};

/** Waits until one session waits for another. */
export async function untilSessionWaits(database: Database): Promise<void> {
  await untilTrue(async () => (await database.run(WAITING, [])).length === 1, { describe: 'one session waits' });
}

/**
 * Holds two sessions at the decisive moment: the first one has changed rows and not committed, and the second one waits
 * for them. Then the first one commits. @returns the result of the second one
 * @param change statements of the first session
 * @param wait statements of the second session, on other connections
 * @param last statements of the first session while the second one waits
 */
export async function afterWaitingFor<Result>(
  database: Database,
  change: (run: Run) => Promise<unknown>,
  wait: () => Promise<Result>,
  last: (run: Run) => Promise<unknown> = async () => {},
): Promise<Result> {
  let waiting: Promise<Result> | undefined;
  await database.transaction(async (run) => {
    await change(run);
    waiting = wait();
    // The caller gets its rejection below.
    waiting.catch(() => {});
    await untilSessionWaits(database);
    await last(run);
  });
  return (await waiting) as Result;
}
