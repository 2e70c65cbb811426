import { pino } from 'pino';
import { expect, test } from 'vitest';
import { fakeTask } from '../../../test/fake-handler-context.ts';
import type { Outcome } from '../../core/outcome.ts';
import { releaseOf, type OpenOutcome } from './open-outcome.ts';
import { createOutcomeLog, type OutcomeLog } from './outcome-log.ts';

function bench(LOG_OUTCOMES: 'unusual' | 'all', intervalMs = 60_000) {
  const lines: Record<string, unknown>[] = [];
  let onLine = (): void => {};
  const write = (line: string): void => {
    lines.push(JSON.parse(line));
    onLine();
  };
  const log = createOutcomeLog({ config: { LOG_OUTCOMES }, log: pino({ base: {} }, { write }), intervalMs });
  const nextLine = () => new Promise<void>((resolve) => (onLine = resolve));
  return { log, lines, nextLine };
}

function open(attempt: number, outcome: Outcome): OpenOutcome {
  const task = { ...fakeTask, attempt };
  const settlement = { id: task.id, attempt, outcome, reason: null };
  return { ...releaseOf(task), settlement, action: 'mail', runMs: 1.6, waitedMs: 2.2 };
}

const error = { name: 'Error', code: 'late', message: 'the text of a handler' };
const completed: Outcome = { verb: 'complete', result: null };
const retried: Outcome = { verb: 'retry', delayMs: 5, error, result: null };

function writeAll(log: OutcomeLog): void {
  log.write(open(1, completed), 'completed');
  log.write(open(2, completed), 'completed');
  log.write(open(1, retried), 'retried');
}

const fields = { trace_id: 'trace-1', task_id: fakeTask.id, queue: 'default', action: 'mail', wait_ms: 2, run_ms: 2 };

test('only what did not complete at the first attempt has a line', () => {
  const { log, lines } = bench('unusual');
  writeAll(log);
  expect(lines).toMatchObject([
    { ...fields, attempt: 2, outcome: 'completed' },
    { ...fields, attempt: 1, outcome: 'retried', retry_in_ms: 5, error_code: 'late' },
  ]);
  expect(JSON.stringify(lines)).not.toContain(error.message);
});

test('with LOG_OUTCOMES=all every outcome has a line, and counts are not logged', async () => {
  const { log, lines } = bench('all');
  writeAll(log);
  log.count('mail', 'completed', 2);
  await log.stop();
  expect(lines.map(({ outcome }) => outcome)).toEqual(['completed', 'completed', 'retried']);
});

test('logs the counts after the interval, and the rest at the end', async () => {
  const { log, lines, nextLine } = bench('unusual', 5);
  const line = nextLine();
  log.count('mail', 'completed', 399);
  log.count('mail', 'completed', 1);
  log.count('mail', 'retried', 2);
  log.count('none', 'released', 3);
  await line;
  log.count('mail', 'failed', 1);
  await log.stop();
  await log.stop();
  expect(lines.map(({ msg, counts }) => [msg, counts])).toEqual([
    ['attempts settled', { mail: { completed: 400, retried: 2 }, none: { released: 3 } }],
    ['attempts settled', { mail: { failed: 1 } }],
  ]);
});
