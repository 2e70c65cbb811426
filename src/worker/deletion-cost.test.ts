import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { createDeletionCost, isWorthTelling } from './deletion-cost.ts';

const { signal } = new AbortController();

function build(intervalMs = 1) {
  const told: number[] = [];
  const lines: Record<string, unknown>[] = [];
  const slots = { busy: 0, total: 10 };
  const api = { failing: false, closed: 0, asked: 0 };
  const ownPod = {
    async setDeletionCost(cost: number) {
      api.asked++;
      if (api.failing) throw new Error('forbidden');
      told.push(cost);
    },
    async close() {
      api.closed++;
    },
  };
  const log = pino({}, { write: (line: string) => void lines.push(JSON.parse(line)) });
  return { told, lines, slots, api, service: createDeletionCost({ slots, ownPod, log, intervalMs }) };
}

describe('the deletion cost', () => {
  it('is always told at first, and then only when it has changed enough', async () => {
    const { service, slots, told } = build();
    for (const busy of [0, 0, 1, 2, 3, 4, 10, 8, 7, 1, 0, 0]) {
      slots.busy = busy;
      await service.runOnce(signal);
    }
    expect(told).toEqual([0, 1, 4, 10, 7, 1, 0]);
  });

  it('logs one warning while it cannot be told, and is told as soon as possible', async () => {
    const { service, slots, api, told, lines } = build();
    api.failing = true;
    slots.busy = 5;
    await service.start();
    await expect.poll(() => api.asked).toBeGreaterThan(3);
    expect(lines).toHaveLength(1);
    api.failing = false;
    await expect.poll(() => told).toEqual([5]);
    await service.stop();
    expect(lines.map(({ msg }) => msg)).toEqual([
      "the pod's deletion cost could not be told",
      "the pod's deletion cost can be told again",
    ]);
    expect(api.closed).toBe(1);
  });

  it('is told for every change between idle and busy, and otherwise for a quarter of the slots', () => {
    expect(isWorthTelling(0, 1, 100)).toBe(true);
    expect(isWorthTelling(1, 0, 100)).toBe(true);
    expect(isWorthTelling(50, 74, 100)).toBe(false);
    expect(isWorthTelling(50, 25, 100)).toBe(true);
    expect(isWorthTelling(1, 2, 2)).toBe(true);
    expect(isWorthTelling(3, 3, 1)).toBe(false);
  });
});
