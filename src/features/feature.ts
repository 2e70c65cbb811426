import type { Config } from '../config/env.ts';
import type { IdSource } from '../core/ids.ts';
import type { ReadyAges } from '../engine/counts/ready-ages.ts';
import type { SystemReads } from '../engine/counts/system-reads.ts';
import type { TaskQueue } from '../engine/order/task-queue.ts';
import type { WorkerRegistry } from '../engine/presence/worker-registry.ts';
import type { Submitter } from '../engine/submit/submitter.ts';
import type { Admission } from '../http/admission/admission.ts';
import type { Cursors } from '../http/cursors.ts';
import type { Route } from '../http/route.ts';
import type { Service } from '../lifecycle/service.ts';
import type { Database } from '../postgres/database.ts';
import type { Reader } from '../postgres/orm.ts';
import type { Keys } from '../redis/keys.ts';
import type { RedisConnection } from '../redis/redis.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';

/** What the API process lends to its features. Each takes what it needs. */
export interface FeatureParts {
  readonly config: Config;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly database: Database;
  /** For reads that people wait for: connections and time limits of their own. */
  readonly reader: Reader;
  readonly redis: RedisConnection;
  readonly keys: Keys;
  readonly queue: TaskQueue;
  readonly registry: WorkerRegistry;
  readonly submitter: Pick<Submitter, 'submit' | 'submitAll'>;
  readonly ids: IdSource;
  readonly admission: Admission;
  readonly cursors: Cursors;
  readonly systemReads: SystemReads;
  readonly readyAges: ReadyAges;
}

/**
 * What people and programs ask for, in a module of its own. A feature's room exports a function that makes one from the
 * parts it needs; nothing else reaches inside, and no feature imports another. What it does in a pass of the sweeper is a
 * `Duty`, in a file beside this one's users: the reclaimer starts every minute and must not load what serves HTTP.
 */
export interface Feature {
  readonly routes?: readonly Route[];
  /** Keeps the feature's gauges up to date. Started in the background, stopped before the connections are. */
  readonly metrics?: Service;
}
