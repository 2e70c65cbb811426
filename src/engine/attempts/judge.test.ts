import { describe, expect, test } from 'vitest';
import { fakeTask } from '../../../test/fake-handler-context.ts';
import { RETRY_AFTER_MAX_MS } from '../../config/timings.ts';
import { FinalError, RetryableError } from '../../core/errors.ts';
import { RESULT_MAX_BYTES } from '../../core/outcome.ts';
import { withResult } from './attempt-result.ts';
import { judgeFailure, judgeResult, RELEASED } from './judge.ts';

const noChance = () => 0;

/** A second copy of the same module, as a handlers module may bring one. */
async function otherCopy(): Promise<typeof import('../../core/errors.ts')> {
  const url = new URL('../../core/errors.ts?copy', import.meta.url).href;
  const copy = (await import(url)) as typeof import('../../core/errors.ts');
  expect(copy.FinalError).not.toBe(FinalError);
  return copy;
}

/** The class as in the README, and subclasses that a team may write. */
function readmeErrors() {
  const handlers = {
    FinalError: class extends Error {
      override name = 'FinalError';
    },
  };
  class NoSuchCustomer extends handlers.FinalError {
    override name = 'NoSuchCustomer';
  }
  return { NoSuchCustomer };
}

describe('judgeResult', () => {
  test.each([
    [undefined, null],
    [null, 'null'],
    [{ a: [1, 'ü'] }, '{"a":[1,"ü"]}'],
    ['x'.repeat(RESULT_MAX_BYTES - 2), `"${'x'.repeat(RESULT_MAX_BYTES - 2)}"`],
  ])('completes with the JSON text of the result (%#)', (result, written) => {
    expect(judgeResult(result)).toEqual({ outcome: { verb: 'complete', result: written }, reason: null });
  });

  const hostile = {
    toJSON() {
      throw new Error('no');
    },
  };
  test.each([
    ['result_not_serialisable', 1n],
    ['result_not_serialisable', () => 1],
    ['result_not_serialisable', Symbol('s')],
    ['result_not_serialisable', hostile],
    ['result_too_large', 'ü'.repeat(RESULT_MAX_BYTES / 2)],
    ['result_too_deep', JSON.parse(`${'['.repeat(65)}${']'.repeat(65)}`)],
  ])('fails without a retry with %s (%#)', (code, result) => {
    expect(judgeResult(result)).toMatchObject({ outcome: { verb: 'fail', error: { code } }, reason: 'final_error' });
  });
});

describe('judgeFailure', () => {
  const judge = (thrown: unknown, task = {}, abortCode: Parameters<typeof judgeFailure>[2] = null, random = noChance) =>
    judgeFailure(thrown, { ...fakeTask, ...task }, abortCode, random);

  test('retries with the backoff of the task, by the number of its failures', () => {
    const delays = [0, 1, 2].map((failures) => judge(new Error('x'), { failures }).outcome);
    expect(delays).toMatchObject([2_000, 4_000, 8_000].map((delayMs) => ({ verb: 'retry', delayMs })));
    const backoff = { baseMs: 100, factor: 3, maxMs: 1_000, jitter: 0.5 };
    expect(judge(new Error('x'), { failures: 1, backoff }, null, () => 1).outcome).toMatchObject({ delayMs: 150 });
  });

  test('fails when the retries are used up, for every kind of error', () => {
    for (const thrown of [new Error('x'), new RetryableError('x', { retryAfterMs: 5 }), 'text', undefined, null]) {
      expect(judge(thrown, { failures: 3 })).toMatchObject({ outcome: { verb: 'fail' }, reason: 'retries_exhausted' });
    }
    expect(judge('text', { maxRetries: 0 }).outcome).toMatchObject({ error: { name: 'NonError' } });
  });

  test('fails at once for a final error, also if another copy of the class made it', () => {
    class Own extends FinalError {}
    const foreign = Object.assign(new Error('x'), { name: 'FinalError' });
    for (const thrown of [new FinalError('x'), new Own('x'), foreign]) {
      expect(judge(thrown)).toMatchObject({ outcome: { verb: 'fail' }, reason: 'final_error' });
    }
  });

  test('fails at once for a subclass of a final error from any copy of the class and with any name', async () => {
    const { FinalError: Theirs } = await otherCopy();
    class Ours extends FinalError {
      override name = 'Ours';
    }
    class OfTheirs extends Theirs {
      override name = 'NoSuchCustomer';
    }
    const subclasses = [new Ours('x'), new OfTheirs('x'), new (readmeErrors().NoSuchCustomer)('x')];
    for (const thrown of subclasses) {
      expect(judge(thrown)).toMatchObject({ outcome: { verb: 'fail' }, reason: 'final_error' });
    }
  });

  test('retries for a subclass of a retryable error, and respects its retryAfterMs', async () => {
    const { RetryableError: Theirs } = await otherCopy();
    class Busy extends Theirs {
      override name = 'Busy';
    }
    class Later extends Error {
      readonly retryAfterMs = 5_000;
    }
    for (const thrown of [new Busy('x', { retryAfterMs: 5_000 }), new Later('x')]) {
      expect(judge(thrown).outcome).toMatchObject({ verb: 'retry', delayMs: 5_000 });
    }
    // The nearest class in the prototype chain that sets a kind decides.
    class Temporary extends FinalError {}
    Object.setPrototypeOf(Temporary.prototype, RetryableError.prototype);
    expect(judge(new Temporary('x')).outcome.verb).toBe('retry');
  });

  test('does not trust objects that only look like an error, or endless prototype chains', () => {
    const endless: object = new Proxy({}, { getPrototypeOf: () => endless });
    const hostile = Object.setPrototypeOf(new Error('x'), endless) as unknown;
    for (const thrown of [{ name: 'FinalError' }, 'FinalError', new Error('FinalError'), hostile]) {
      expect(judge(thrown).outcome.verb).toBe('retry');
    }
  });

  test.each([
    [5_000, 5_000],
    [0, 2_000],
    [1_999, 2_000],
    [Number.POSITIVE_INFINITY, RETRY_AFTER_MAX_MS],
    [Number.NaN, 2_000],
    [-1, 2_000],
    [undefined, 2_000],
  ])('waits for retryAfterMs %d or the backoff of 2 s, whichever is longer: %d', (retryAfterMs, delayMs) => {
    expect(judge(new RetryableError('x', { retryAfterMs })).outcome).toMatchObject({ verb: 'retry', delayMs });
  });

  test.each([0, 30_000])('does not cut a backoff of 100 s to a retryAfterMs of %d', (retryAfterMs) => {
    const backoff = { baseMs: 100_000, factor: 1, maxMs: 100_000, jitter: 0 };
    expect(judge(new RetryableError('x', { retryAfterMs }), { backoff }).outcome).toMatchObject({ delayMs: 100_000 });
  });

  test('releases a task whose handler failed because it was told to stop', () => {
    for (const code of ['shutting_down', 'ownership_lost'] as const) {
      expect(judge(new Error('aborted'), { failures: 3 }, code)).toBe(RELEASED);
      expect(judge(new FinalError('meant so'), {}, code)).toMatchObject({ reason: 'final_error' });
    }
    expect(judge(new Error('aborted'), {}, 'cancelled').outcome.verb).toBe('retry');
  });

  test('keeps the result that a failure carries, if it can be kept', () => {
    expect(judge(withResult(new Error('x'), { status: 500 })).outcome).toMatchObject({ result: '{"status":500}' });
    const { outcome } = judge(withResult(new Error('x'), 1n));
    expect(outcome).toMatchObject({
      verb: 'retry',
      result: expect.stringMatching(/^\{"not_kept":"the result cannot be/),
    });
  });

  test('survives errors that cannot be read', () => {
    const hostile = Object.defineProperty(new Error('x'), 'retryAfterMs', {
      get() {
        throw new Error('no');
      },
    });
    expect(judge(hostile).outcome).toMatchObject({ verb: 'retry', delayMs: 2_000 });
  });
});
