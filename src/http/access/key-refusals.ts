import type { Metrics } from '../../telemetry/metrics.ts';
import { Problem } from '../problem.ts';
import type { RequestInfo } from '../route.ts';
import type { WrongKeys } from './wrong-keys.ts';

/** Makes the answers to keys that are not valid, and counts them: the same for every kind of key. */
export interface KeyRefusals {
  /** Only somebody who has the key learns that it has expired. They are not guessing, so they are not slowed down. */
  expired(detail: string): Problem;
  /** A wrong key counts for its address, and slows it down. */
  wrong(info: Pick<RequestInfo, 'clientAddress'>, detail?: string): Problem;
}

export interface KeyRefusalsOptions {
  readonly wrongKeys: WrongKeys;
  readonly metrics: Metrics;
}

export function createKeyRefusals({ wrongKeys, metrics }: KeyRefusalsOptions): KeyRefusals {
  return {
    expired(detail) {
      metrics.authFailures.inc({ reason: 'expired' });
      return new Problem('secret_expired', detail, { headers: INVALID_TOKEN });
    },
    wrong({ clientAddress }, detail = 'the key is not valid') {
      const seconds = Math.ceil(wrongKeys.count(clientAddress));
      metrics.authFailures.inc({ reason: seconds > 0 ? 'slowed' : 'unknown' });
      if (seconds === 0) return new Problem('unauthenticated', detail, { headers: INVALID_TOKEN });
      const slowed = `too many wrong keys came from this address; try again in ${seconds} s`;
      return new Problem('too_many_wrong_keys', slowed, { headers: { 'Retry-After': String(seconds) } });
    },
  };
}

const INVALID_TOKEN = { 'WWW-Authenticate': 'Bearer realm="scheduler", error="invalid_token"' };
