/** Changes when the meaning of a key, a member or a score changes; old keys are then left behind and rebuilt. */
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

/** Where every Redis key and channel comes from. */
export interface Keys {
  /** All keys of a queue share one hash tag, hence one slot of a Redis Cluster. */
  queue(name: string): QueueKeys;
  heartbeat(workerId: string): string;
  /** What a worker told of itself last, kept beyond its death. */
  worker(workerId: string): string;
  readonly workers: string;
  /** Who was presumed dead lately. */
  readonly deadWorkers: string;
  rateLimit(subject: string): string;
  readonly cancelChannel: string;
  /** What a Redis user has to be given: a pattern of the ACL rule, and a key that it has to match. */
  readonly patterns: readonly { readonly rule: string; readonly sample: string }[];
  /** The same for the channel. */
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
    // Without the format, which a later version may change.
    patterns: [
      { rule: `~{${prefix}:*`, sample: queue('default').ready },
      { rule: `~${prefix}:*`, sample: workers },
      { rule: `~${heartbeatPrefix}worker:heartbeat:*`, sample: heartbeat('sample') },
    ],
    channelRule: `&${prefix}:*`,
  };
}
