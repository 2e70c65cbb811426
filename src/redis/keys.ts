/** Increase this when the meaning of a key, a member or a score changes. The data is then rebuilt under new keys. */
export const KEY_FORMAT = 1;

export interface QueueKeys {
  readonly ready: string;
  readonly delayed: string;
  readonly inflight: string;
  readonly wake: string;
  readonly settings: string;
  readonly epoch: string;
  readonly settled: string;
}

/** The names of all Redis keys and channels. */
export interface Keys {
  /** All keys of a queue share one hash tag, so a Redis Cluster keeps them in one slot. */
  queue(name: string): QueueKeys;
  heartbeat(workerId: string): string;
  /** The latest description that a worker sent, kept beyond its death. */
  worker(workerId: string): string;
  readonly workers: string;
  /** The workers that were recently presumed dead. */
  readonly deadWorkers: string;
  rateLimit(subject: string): string;
  readonly cancelChannel: string;
  /** The key patterns that a Redis user needs: the pattern in the ACL rule, and a sample key that it must match. */
  readonly patterns: readonly { readonly rule: string; readonly sample: string }[];
  /** The channel pattern that a Redis user needs in its ACL rule. */
  readonly channelRule: string;
}

export function createKeys(prefix: string, heartbeatPrefix: string): Keys {
  const base = `${prefix}:${KEY_FORMAT}`;
  const queue = (name: string): QueueKeys => {
    const tag = `{${base}:${name}}`;
    return {
      ready: `${tag}:ready`,
      delayed: `${tag}:delayed`,
      inflight: `${tag}:inflight`,
      wake: `${tag}:wake`,
      settings: `${tag}:settings`,
      epoch: `${tag}:epoch`,
      settled: `${tag}:settled`,
    };
  };
  const heartbeat = (workerId: string): string => `${heartbeatPrefix}worker:heartbeat:${workerId}`;
  const workers = `${base}:workers`;
  return {
    queue,
    heartbeat,
    worker: (workerId) => `${base}:worker:${workerId}`,
    workers,
    deadWorkers: `${base}:dead-workers`,
    rateLimit: (subject) => `${base}:ratelimit:${subject}`,
    cancelChannel: `${base}:cancel`,
    // The patterns leave out the key format, because a later version may change it.
    patterns: [
      { rule: `~{${prefix}:*`, sample: queue('default').ready },
      { rule: `~${prefix}:*`, sample: workers },
      { rule: `~${heartbeatPrefix}worker:heartbeat:*`, sample: heartbeat('sample') },
    ],
    channelRule: `&${prefix}:*`,
  };
}
