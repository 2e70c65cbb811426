import { type Api, post } from './api.ts';
import { sql, until } from './cluster.ts';

export interface Submission {
  readonly payload: unknown;
  readonly queue?: string;
  readonly priority?: 'High' | 'Medium' | 'Low';
  /** In seconds. */
  readonly execution_time?: number;
}

/** Submits in batches of 1,000; every one has to be accepted. */
export async function submitAll(api: Api, tasks: readonly Submission[]): Promise<void> {
  for (let from = 0; from < tasks.length; from += 1_000) {
    await post(api, '/tasks/batch', { tasks: tasks.slice(from, from + 1_000) });
  }
}

/** So many tasks alike, told apart by a number in their payload. */
export function copies(count: number, task: Omit<Submission, 'payload'>): Submission[] {
  return Array.from({ length: count }, (_, i) => ({ payload: { i }, ...task }));
}

/** Waits until every task of the default queue has ended, and returns how many ended how. */
export async function drained(seconds: number): Promise<Record<string, number>> {
  const open = `SELECT count(*) FROM tasks WHERE status IN ('PENDING', 'SCHEDULED', 'PROCESSING')`;
  await until('all tasks have ended', seconds, () => sql(open) === '0', 1_000);
  return counts(`SELECT status, count(*) FROM tasks GROUP BY 1`);
}

/** How all attempts so far ended. */
export function attempts(): Record<string, number> {
  return counts(`SELECT coalesce(outcome::text, 'OPEN'), count(*) FROM execution_logs GROUP BY 1`);
}

/** How many of these tasks are COMPLETED. */
export function completedOf(ids: readonly string[]): number {
  const list = ids.map((id) => `('${id}'::uuid)`).join(',');
  return Number(
    sql(`SELECT count(*) FROM tasks JOIN (VALUES ${list}) AS asked (id) USING (id) WHERE status = 'COMPLETED'`),
  );
}

/** Ends what still waits or runs, so that the next step begins with nothing. */
export async function cancelOpen(api: Api): Promise<void> {
  const open = sql(`SELECT id FROM tasks WHERE status IN ('PENDING', 'SCHEDULED', 'PROCESSING')`);
  for (const id of open.split('\n').filter((line) => line !== '')) await post(api, `/tasks/${id}/cancel`, {});
  await drained(60);
}

function counts(statement: string): Record<string, number> {
  const lines = sql(statement)
    .split('\n')
    .filter((line) => line !== '')
    .toSorted();
  return Object.fromEntries(lines.map((line) => line.split('|')).map(([name = '', count]) => [name, Number(count)]));
}
