import { type Api, post } from './api.ts';
import { sql, until } from './cluster.ts';

export interface Submission {
  readonly payload: unknown;
  readonly queue?: string;
  readonly priority?: 'High' | 'Medium' | 'Low';
  /** In seconds. */
  readonly execution_time?: number;
}

/** Submits tasks in batches of 1,000. @throws Error if a batch is not accepted */
export async function submitAll(api: Api, tasks: readonly Submission[]): Promise<void> {
  for (let from = 0; from < tasks.length; from += 1_000) {
    await post(api, '/tasks/batch', { tasks: tasks.slice(from, from + 1_000) });
  }
}

/** Returns `count` equal tasks with different numbers in their payloads. */
export function copies(count: number, task: Omit<Submission, 'payload'>): Submission[] {
  return Array.from({ length: count }, (_, i) => ({ payload: { i }, ...task }));
}

/** Waits until every task has ended, and returns the number of tasks by status. */
export async function drained(seconds: number): Promise<Record<string, number>> {
  const open = `SELECT count(*) FROM tasks WHERE status IN ('PENDING', 'SCHEDULED', 'PROCESSING')`;
  await until('all tasks have ended', seconds, () => sql(open) === '0', 1_000);
  return counts(`SELECT status, count(*) FROM tasks GROUP BY 1`);
}

/** Returns the number of all attempts so far, by outcome. */
export function attempts(): Record<string, number> {
  return counts(`SELECT coalesce(outcome::text, 'OPEN'), count(*) FROM execution_logs GROUP BY 1`);
}

/** Returns how many of these tasks are COMPLETED. */
export function completedOf(ids: readonly string[]): number {
  const list = ids.map((id) => `('${id}'::uuid)`).join(',');
  return Number(
    sql(`SELECT count(*) FROM tasks JOIN (VALUES ${list}) AS asked (id) USING (id) WHERE status = 'COMPLETED'`),
  );
}

/** Cancels all waiting and running tasks, so that the next step starts without tasks. */
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
