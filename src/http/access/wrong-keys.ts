import { systemClock, type Clock } from '../../core/clock.ts';
import { takeTokens, type BucketState } from '../admission/token-bucket.ts';
import { rateLimitSubject } from '../server/client-address.ts';

/** Counts wrong keys by the address that sends them. */
export interface WrongKeys {
  /**
   * Counts one wrong key.
   * @returns 0, or the seconds after which the address may send the next wrong key
   */
  count(address: string): number;
}

/** An address may send this many wrong keys per minute. */
export const WRONG_KEYS_PER_MINUTE = 100;

const LIMITS = { capacity: WRONG_KEYS_PER_MINUTE, refillPerSecond: WRONG_KEYS_PER_MINUTE / 60 };

/** Number of addresses that are remembered. Those that have been silent longest are forgotten first. */
const ADDRESSES_MAX = 10_000;

/** Each process counts for itself. An address is what the rate limit counts as one client. */
export function createWrongKeys(clock: Clock = systemClock): WrongKeys {
  const buckets = new Map<string, BucketState>();
  return {
    count(address) {
      const subject = rateLimitSubject(address);
      const { state, decision } = takeTokens(LIMITS, buckets.get(subject), clock.monotonicMs(), 1);
      buckets.delete(subject);
      buckets.set(subject, state);
      if (buckets.size > ADDRESSES_MAX) buckets.delete(buckets.keys().next().value as string);
      return decision.retryAfterSeconds;
    },
  };
}
