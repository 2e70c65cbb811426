import { pino } from 'pino';
import { expect, test } from 'vitest';
import { fakeTask } from '../../test/fake-handler-context.ts';
import { Attempt } from '../engine/attempts/attempt.ts';
import { createPulse } from './pulse.ts';

function attempt(action: string, startedAtMs = 0): Attempt {
  const log = pino({ level: 'silent' });
  return new Attempt({ task: { ...fakeTask, attempt: 7 }, action, handler: () => 1, waitedMs: 0, startedAtMs, log });
}

test('shows the other side the attempt with the earliest deadline', () => {
  const pulse = createPulse();
  const otherSide = createPulse(pulse.buffer);
  expect([otherSide.earliest, otherSide.deadlineMs]).toEqual([null, 0]);
  for (const action of ['mail', 'ü\n'.repeat(64), 'x']) {
    const shown = attempt(action, 5);
    pulse.show(shown);
    expect(otherSide.earliest).toEqual({ taskId: fakeTask.id, attempt: 7, action });
    expect(otherSide.deadlineMs).toBe(shown.deadlineMs);
  }
  pulse.show(null);
  expect([otherSide.earliest, otherSide.deadlineMs]).toEqual([null, 0]);
});

test('endWith() waits for the last words no longer than its limit', () => {
  const sinceMs = performance.now();
  createPulse().endWith('words', 20);
  expect(performance.now() - sinceMs).toBeGreaterThanOrEqual(19);
});

test('last words reach the other side, even if it listens only afterwards', async () => {
  const pulse = createPulse();
  const otherSide = createPulse(pulse.buffer);
  const heard = otherSide.lastWords();
  pulse.endWith('farewell', 1);
  expect(await heard).toBe('farewell');
  expect(await createPulse(pulse.buffer).lastWords()).toBe('farewell');
});
