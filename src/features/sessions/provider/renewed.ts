import { systemClock, type Clock } from '../../../core/clock.ts';

export interface RenewedOptions<Value> {
  load(): Promise<Value>;
  /** A value is loaded again after this many milliseconds. */
  readonly keptMs: number;
  /** After a failure, nothing is loaded for this many milliseconds. */
  readonly pauseMs: number;
  readonly clock?: Clock;
}

/**
 * Keeps something that another server says, and asks again from time to time. All callers share one request. A value
 * that is due to be loaded again is used until another one is there; a failure to load it changes nothing.
 * @throws the error of the latest failure, while there is no value
 */
export function createRenewed<Value>({ load, keptMs, pauseMs, clock = systemClock }: RenewedOptions<Value>) {
  let known: { readonly value: Value; readonly atMs: number } | undefined;
  let failed: { readonly error: unknown; readonly atMs: number } | undefined;
  let loading: Promise<Value> | undefined;

  const loadOnce = async (): Promise<Value> => {
    try {
      const value = await load();
      known = { value, atMs: clock.monotonicMs() };
      failed = undefined;
      return value;
    } catch (error) {
      failed = { error, atMs: clock.monotonicMs() };
      throw error;
    } finally {
      loading = undefined;
    }
  };

  return async (): Promise<Value> => {
    const nowMs = clock.monotonicMs();
    const isPausing = failed !== undefined && nowMs - failed.atMs < pauseMs;
    const isDue = known === undefined || nowMs - known.atMs > keptMs;
    if (isDue && !isPausing) loading ??= loadOnce();
    if (known !== undefined) {
      loading?.catch(() => {});
      return known.value;
    }
    if (loading !== undefined) return loading;
    throw failed?.error;
  };
}
