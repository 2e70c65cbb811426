import type { Config } from '../config/env.ts';
import type { ProjectionOf } from '../core/access/projection.ts';
import type { IdSource } from '../core/ids.ts';
import type { ReadyAges } from '../engine/counts/ready-ages.ts';
import type { SystemReads } from '../engine/counts/system-reads.ts';
import type { TaskQueue } from '../engine/order/task-queue.ts';
import type { WorkerRegistry } from '../engine/presence/worker-registry.ts';
import type { Submitter } from '../engine/submit/submitter.ts';
import type { Admission } from '../http/admission/admission.ts';
import type { Cursors } from '../http/paging/cursors.ts';
import type { Route } from '../http/route.ts';
import type { Service } from '../lifecycle/service.ts';
import type { Database } from '../postgres/database.ts';
import type { Reader } from '../postgres/reads/reader.ts';
import type { Keys } from '../redis/keys.ts';
import type { RedisConnection } from '../redis/redis.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';

/** The parts of the API process that its features may use. */
export interface FeatureParts {
  readonly config: Config;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly database: Database;
  /** For reads that people wait for. It has its own connections and time limits. */
  readonly reader: Reader;
  readonly redis: RedisConnection;
  readonly keys: Keys;
  readonly queue: TaskQueue;
  readonly registry: WorkerRegistry;
  readonly submitter: Pick<Submitter, 'submit' | 'submitAll'>;
  readonly ids: IdSource;
  readonly admission: Admission;
  readonly cursors: Cursors;
  /** Says what of tasks each client sees. */
  readonly projectionOf: ProjectionOf;
  readonly systemReads: SystemReads;
  readonly readyAges: ReadyAges;
}

/**
 * One area of the API, such as queues or dead letters, in its own folder. Each folder exports a function that makes its
 * feature from the parts it needs. No feature imports another. Work in a pass of the sweeper is not part of a `Feature`
 * but a `Duty` in a separate file of the same folder: the reclaimer starts every minute and must not load the HTTP
 * code.
 */
export interface Feature {
  readonly routes?: readonly Route[];
  /** Keeps the feature's gauges up to date. It is started in the background and stopped before the connections. */
  readonly metrics?: Service;
}
