import { expect, it } from 'vitest';
import { createMetrics } from '../../telemetry/metrics.ts';
import { createMemoryBudget } from './memory-budget.ts';

const budgetOf = (maxBytes: number, waitMs = 60_000) =>
  createMemoryBudget({ maxBytes, waitMs, metrics: createMetrics() });

it('serves waiting requests in order, and lets no request overtake them', async () => {
  const budget = budgetOf(100);
  const [first, second, third] = [budget.open(), budget.open(), budget.open()];
  await first.take(80);
  const order: string[] = [];
  const waits = [second.take(90).then(() => order.push('second')), third.take(5).then(() => order.push('third'))];
  expect(budget.open().tryTake(1)).toBe(false);
  first.release();
  await Promise.all(waits);
  expect(order).toEqual(['second', 'third']);
});

it('gives nothing to a lease that was released while it waited', async () => {
  const budget = budgetOf(100);
  const [holder, gone] = [budget.open(), budget.open()];
  await holder.take(100);
  const waits = gone.take(50);
  gone.release();
  holder.release();
  await waits;
  expect(budget.open().tryTake(100)).toBe(true);
});

it('refuses a request that waits too long, and serves the next ones', async () => {
  const budget = budgetOf(100, 20);
  const holder = budget.open();
  await holder.take(60);
  await expect(budget.open().take(50)).rejects.toMatchObject({ code: 'overloaded', status: 503 });
  await budget.open().take(40);
});

it('grants a single lease more than the budget, and reduces it with hold()', async () => {
  const budget = budgetOf(100);
  const alone = budget.open();
  await alone.take(500);
  await alone.hold(30);
  expect(budget.open().tryTake(70)).toBe(true);
});
