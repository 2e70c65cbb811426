import { describe, expect, it } from 'vitest';
import { fakeHandlerContext } from '../../test/fake-handler-context.ts';
import { AttemptAbortedError, FinalError, RetryableError } from '../core/errors.ts';
import { createSimulate } from './simulate.ts';

function recordingSimulate() {
  const slept: number[] = [];
  const simulate = createSimulate({ sleep: async (ms) => void slept.push(ms) });
  return { slept, run: async (payload: unknown, task = {}) => simulate(fakeHandlerContext(payload, task)) };
}

describe('simulate', () => {
  it('sleeps for the execution time and returns it', async () => {
    const { slept, run } = recordingSimulate();
    expect(await run({ any: 'thing' }, { executionTimeSeconds: 2.5 })).toEqual({
      simulated: true,
      simulated_seconds: 2.5,
    });
    expect(slept).toEqual([2_500]);
  });

  it.each([[null], [undefined], ['text'], [7], [[1]], [{}], [{ simulate: {} }]])(
    'sleeps one second for a task without an execution time, payload %j',
    async (payload) => {
      const { slept, run } = recordingSimulate();
      expect(await run(payload)).toEqual({ simulated: true, simulated_seconds: 1 });
      expect(slept).toEqual([1_000]);
    },
  );

  it('never sleeps longer than the largest delay of a timer', async () => {
    const { slept, run } = recordingSimulate();
    await run(null, { executionTimeSeconds: 1e9 });
    expect(slept).toEqual([2_147_483_647]);
  });

  it('fails `fail_times` times, counted by failures and not by attempts', async () => {
    const { slept, run } = recordingSimulate();
    const payload = { simulate: { fail_times: 2 } };
    await expect(run(payload, { failures: 0, attempt: 5 })).rejects.toThrow(RetryableError);
    await expect(run(payload, { failures: 1, attempt: 6 })).rejects.toThrow('simulated failure 2 of 2');
    await expect(run(payload, { failures: 2, attempt: 7 })).resolves.toEqual({ simulated: true, simulated_seconds: 1 });
    expect(slept).toHaveLength(3);
  });

  it('fails without retries, or on every attempt, with the message of the payload', async () => {
    const { run } = recordingSimulate();
    await expect(run({ simulate: { fail: 'final', message: 'no such user' } })).rejects.toThrow(
      expect.objectContaining({ name: FinalError.name, code: 'simulated_failure', message: 'no such user' }),
    );
    await expect(run({ simulate: { fail: 'always' } }, { failures: 99 })).rejects.toThrow(RetryableError);
  });

  it.each([
    [{ simulate: null }, 'payload.simulate: '],
    [{ simulate: { fail_times: -1 } }, 'payload.simulate.fail_times: '],
    [{ simulate: { fail: 'maybe' } }, 'payload.simulate.fail: '],
    [{ simulate: { fial: 'final' } }, 'payload.simulate: Unrecognized key: "fial"'],
    [{ simulate: { fail: 'final', fail_times: 1 } }, 'not both'],
  ])('refuses %j without retries, before it sleeps', async (payload, message) => {
    const { slept, run } = recordingSimulate();
    await expect(run(payload)).rejects.toThrow(
      expect.objectContaining({
        name: FinalError.name,
        code: 'invalid_payload',
        message: expect.stringContaining(message),
      }),
    );
    expect(slept).toEqual([]);
  });

  it('ends its sleep when the signal fires, with the reason of the signal', async () => {
    const controller = new AbortController();
    const reason = new AttemptAbortedError('cancelled', 'the task was cancelled');
    const run = createSimulate()(fakeHandlerContext(null, { executionTimeSeconds: 3_600 }, controller.signal));
    controller.abort(reason);
    await expect(run).rejects.toBe(reason);
  });
});
