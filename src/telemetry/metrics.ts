import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import { Durations } from './durations.ts';

const SECONDS = [0.005, 0.025, 0.1, 0.5, 1, 2.5, 10, 60, 300, 1_800];
const REQUEST_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10];

/** Queues and actions beyond this many share the label `other`, so that a client cannot create unlimited series. */
const LABEL_VALUES_MAX = 100;
const OTHER = 'other';

export type Metrics = ReturnType<typeof createMetrics>;

/** Every metric of every process. Names and labels are an interface: dashboards and autoscaling depend on them. */
export function createMetrics(registry: Registry = new Registry()) {
  const registers = [registry];
  return {
    registry,
    /** Limits the values of a label to the first hundred that this process sees. */
    queueLabel: boundedLabel(),
    actionLabel: boundedLabel(),

    queueTasks: new Gauge({
      name: 'scheduler_queue_tasks',
      help: 'Tasks of a queue in Redis: ready, due, delayed, inflight, paused (waiting in a paused queue)',
      labelNames: ['queue', 'state'],
      registers,
    }),
    queueOldestReadyAge: new Gauge({
      name: 'scheduler_queue_oldest_ready_age_seconds',
      help: 'How long the oldest of the next tasks of each priority has been ready',
      labelNames: ['queue'],
      registers,
    }),
    queueUnservedTasks: new Gauge({
      name: 'scheduler_queue_unserved_tasks',
      help: 'Tasks that may be claimed in a queue that no worker serves',
      labelNames: ['queue'],
      registers,
    }),
    tasksSubmitted: new Counter({
      name: 'scheduler_tasks_submitted_total',
      help: 'Tasks committed to PostgreSQL',
      labelNames: ['queue', 'priority'],
      registers,
    }),
    tasksSettled: new Counter({
      name: 'scheduler_tasks_settled_total',
      help: 'Settled attempts, by outcome',
      labelNames: ['queue', 'action', 'outcome'],
      registers,
    }),
    taskWait: new Durations({
      name: 'scheduler_task_wait_seconds',
      help: 'Time from when a task was due to the start of its attempt',
      labelNames: ['queue'],
      buckets: SECONDS,
      registers,
    }),
    taskRun: new Durations({
      name: 'scheduler_task_run_seconds',
      help: 'Time in the handler',
      labelNames: ['queue', 'outcome'],
      buckets: SECONDS,
      registers,
    }),
    workerSlots: new Gauge({
      name: 'scheduler_worker_slots',
      help: 'Slots of this worker: busy, overrun (the handler goes on after its time limit), free',
      labelNames: ['state'],
      registers,
    }),
    startsRefused: new Counter({
      name: 'scheduler_starts_refused_total',
      help: 'Claimed tasks that PostgreSQL did not start: early, locked, paused, solo, gone',
      labelNames: ['reason'],
      registers,
    }),
    staleSettles: new Counter({
      name: 'scheduler_stale_settles_total',
      help: 'Outcomes refused because the attempt was no longer the latest',
      registers,
    }),
    outcomesRefused: new Counter({
      name: 'scheduler_outcomes_refused_total',
      help: 'Outcomes that PostgreSQL refused though this worker held the attempt; the run counts as lost',
      registers,
    }),
    tasksReclaimed: withoutValue(
      new Counter({
        name: 'scheduler_tasks_reclaimed_total',
        help: 'Tasks reclaimed from dead workers by any sweeper; kept in PostgreSQL, exported by the API',
        registers,
      }),
    ),
    tasksBuried: withoutValue(
      new Counter({
        name: 'scheduler_tasks_buried_total',
        help: 'Tasks that went to the dead letters because they were lost too often; kept in PostgreSQL, exported by the API',
        registers,
      }),
    ),
    reconciled: new Counter({
      name: 'scheduler_reconciled_total',
      help: 'Entries of Redis that were corrected: watermark, scan, rebuild, claim, stale; kept in PostgreSQL, exported by the API',
      labelNames: ['cause'],
      registers,
    }),
    dutyFailures: new Counter({
      name: 'scheduler_sweep_duty_failures_total',
      help: 'Failed duties of the sweeper, by duty; kept in PostgreSQL, exported by the API',
      labelNames: ['duty'],
      registers,
    }),
    reclaimerLastSuccess: new Gauge({
      name: 'scheduler_reclaimer_last_success_timestamp_seconds',
      help: 'When a pass last succeeded, by role; kept in PostgreSQL',
      labelNames: ['role'],
      registers,
    }),
    reclaimerPasses: new Gauge({
      name: 'scheduler_reclaimer_passes',
      help: 'Successful passes since the database was created, by role; kept in PostgreSQL',
      labelNames: ['role'],
      registers,
    }),
    httpRequests: new Counter({
      name: 'scheduler_http_requests_total',
      help: 'Requests answered by the API',
      labelNames: ['route', 'status'],
      registers,
    }),
    httpDuration: new Histogram({
      name: 'scheduler_http_request_duration_seconds',
      help: 'Time from a request to its response',
      labelNames: ['route'],
      buckets: REQUEST_SECONDS,
      registers,
    }),
    rateLimited: new Counter({
      name: 'scheduler_rate_limited_total',
      help: 'Requests refused by the rate limit',
      registers,
    }),
    authFailures: new Counter({
      name: 'scheduler_auth_failures_total',
      help: 'Requests refused because of their key: missing, unknown, expired, slowed (too many wrong keys from its address), or because of their cookie: session',
      labelNames: ['reason'],
      registers,
    }),
    refusalsDropped: new Counter({
      name: 'scheduler_audit_refusals_dropped_total',
      help: 'Refused requests that the audit log has left out: too many different ones waited, or PostgreSQL refuses their text',
      registers,
    }),
    inFlightBytes: new Gauge({
      name: 'scheduler_in_flight_bytes',
      help: 'Estimated memory of requests and responses in progress in the API: used, limit',
      labelNames: ['kind'],
      registers,
    }),
    overloaded: new Counter({
      name: 'scheduler_overloaded_total',
      help: 'Requests refused because other requests in progress took all of the allowed memory',
      registers,
    }),
    enqueueFailures: new Counter({
      name: 'scheduler_enqueue_failures_total',
      help: 'Tasks that were committed but not enqueued in Redis at once; reconcile enqueues them later',
      registers,
    }),
    storeUp: new Gauge({
      name: 'scheduler_store_up',
      help: '1 if the last call to the store was answered, otherwise 0',
      labelNames: ['store'],
      registers,
    }),
    statementTimeouts: new Counter({
      name: 'scheduler_statement_timeouts_total',
      help: 'Statements that PostgreSQL ended at a time limit (statement, lock, idle transaction), or left unanswered, by name',
      labelNames: ['statement'],
      registers,
    }),
    oldestSnapshotAge: new Gauge({
      name: 'scheduler_oldest_snapshot_seconds',
      help: 'Age of the oldest snapshot that keeps VACUUM of PostgreSQL from removing dead rows; since the start of this process at most',
      registers,
    }),
    poolExhausted: new Counter({
      name: 'scheduler_pool_exhausted_total',
      help: "Calls that did not get a connection of this process's own pool in time: main, reads",
      labelNames: ['pool'],
      registers,
    }),
    poolConnections: new Gauge({
      name: 'scheduler_database_pool_connections',
      help: 'Connections of the pool: total, idle; and calls that wait for one',
      labelNames: ['state'],
      registers,
    }),
  };
}

/**
 * Collects metrics of the process and the event loop, under the names that prom-client gives them.
 * @param eventLoopTimerMs interval at which the lag of the event loop is measured. It is part of the reported lag, and
 * each measurement wakes an idle process
 */
export function collectProcessMetrics(registry: Registry, eventLoopTimerMs: number): void {
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: eventLoopTimerMs });
}

/** Calls `update` before every scrape of a gauge. */
export function onScrape<Label extends string>(gauge: Gauge<Label>, update: () => void): void {
  (gauge as Gauge<Label> & { collect: () => void }).collect = update;
}

/**
 * Limits the values of a label to the first hundred of the names. It is for metrics that every replica exports: their
 * labels have to agree.
 */
export function labelOfFirst(names: readonly string[]): (name: string) => string {
  const kept = new Set(names.slice(0, LABEL_VALUES_MAX));
  return (name) => (kept.has(name) ? name : OTHER);
}

/** Removes the initial 0 of a count that is kept elsewhere, because `increase` would take the first real value as new. */
function withoutValue(counter: Counter): Counter {
  counter.remove();
  return counter;
}

function boundedLabel(): (value: string) => string {
  const kept = new Set<string>();
  return (value) => {
    if (kept.has(value)) return value;
    if (kept.size >= LABEL_VALUES_MAX) return OTHER;
    kept.add(value);
    return value;
  };
}
