import { pino } from 'pino';
import { expect, test } from 'vitest';
import { fakeTask } from '../../../test/fake-handler-context.ts';
import { Attempt } from './attempt.ts';
import { RELEASED } from './judge.ts';
import { outcomeOf, releaseOf } from './open-outcome.ts';

test('an outcome that waits does not keep the payload of its task in memory', () => {
  const attempt = new Attempt({
    task: { ...fakeTask, payload: '"large"' },
    action: 'mail',
    handler: () => {},
    waitedMs: 0,
    startedAtMs: 0,
    log: pino({ level: 'silent' }),
  });
  const { id, queue, priority, placeMs, traceId } = fakeTask;
  const kept = { id, attempt: fakeTask.attempt, queue, priority, placeMs, traceId };
  expect(outcomeOf(attempt, RELEASED, 1).task).toEqual(kept);
  expect(releaseOf(fakeTask).task).toEqual(kept);
});
