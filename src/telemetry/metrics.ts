import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';

const SECONDS = [0.005, 0.025, 0.1, 0.5, 1, 2.5, 10, 60, 300, 1_800];
const REQUEST_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10];

/** Queues and actions beyond this many share the label `other`, so that a client cannot blow up the series. */
const LABEL_VALUES_MAX = 100;
const OTHER = 'other';

export type Metrics = ReturnType<typeof createMetrics>;

/** Every metric of every process. Names and labels are an interface: dashboards and autoscaling depend on them. */
export function createMetrics(registry: Registry = new Registry()) {
  const registers = [registry];
  return {
    registry,
    /** Bounds the values of a label; the first hundred that this process meets are kept. */
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
      help: 'For how long the oldest of the next tasks of each priority has been ready',
      labelNames: ['queue'],
      registers,
    }),
    queueUnservedTasks: new Gauge({
      name: 'scheduler_queue_unserved_tasks',
      help: 'Tasks that may be claimed, of a queue that no worker serves',
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
      help: 'Attempts that were settled, by outcome',
      labelNames: ['queue', 'action', 'outcome'],
      registers,
    }),
    taskWait: new Histogram({
      name: 'scheduler_task_wait_seconds',
      help: 'From the time a task was due to the start of its attempt',
      labelNames: ['queue'],
      buckets: SECONDS,
      registers,
    }),
    taskRun: new Histogram({
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
        help: 'Tasks taken back from dead workers, by whoever swept; kept in PostgreSQL, exported by the API',
        registers,
      }),
    ),
    tasksBuried: withoutValue(
      new Counter({
        name: 'scheduler_tasks_buried_total',
        help: 'Tasks taken back so often that they went to the dead letters; kept in PostgreSQL, exported by the API',
        registers,
      }),
    ),
    reconciled: new Counter({
      name: 'scheduler_reconciled_total',
      help: 'Entries of Redis put right: watermark, scan, rebuild, claim, stale; kept in PostgreSQL, exported by the API',
      labelNames: ['cause'],
      registers,
    }),
    dutyFailures: new Counter({
      name: 'scheduler_sweep_duty_failures_total',
      help: 'Duties of the sweeper that failed, by duty; kept in PostgreSQL, exported by the API',
      labelNames: ['duty'],
      registers,
    }),
    reclaimerLastSuccess: new Gauge({
      name: 'scheduler_reclaimer_last_success_timestamp_seconds',
      help: 'When a pass last ended well, by role; kept in PostgreSQL',
      labelNames: ['role'],
      registers,
    }),
    reclaimerPasses: new Gauge({
      name: 'scheduler_reclaimer_passes',
      help: 'Passes that ended well since the database was made, by role; kept in PostgreSQL',
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
      help: 'Time from a request to its answer',
      labelNames: ['route'],
      buckets: REQUEST_SECONDS,
      registers,
    }),
    rateLimited: new Counter({
      name: 'scheduler_rate_limited_total',
      help: 'Requests refused by the rate limit',
      registers,
    }),
    inFlightBytes: new Gauge({
      name: 'scheduler_in_flight_bytes',
      help: 'Memory of requests and answers under way in the API, as it is reckoned: used, limit',
      labelNames: ['kind'],
      registers,
    }),
    overloaded: new Counter({
      name: 'scheduler_overloaded_total',
      help: 'Requests refused because those under way took all the memory that they may',
      registers,
    }),
    enqueueFailures: new Counter({
      name: 'scheduler_enqueue_failures_total',
      help: 'Tasks that were committed but not entered into Redis at once; reconcile enters them',
      registers,
    }),
    storeUp: new Gauge({
      name: 'scheduler_store_up',
      help: '1 while the last call to the store was answered, else 0',
      labelNames: ['store'],
      registers,
    }),
    statementTimeouts: new Counter({
      name: 'scheduler_statement_timeouts_total',
      help: 'Statements that PostgreSQL ended at a time limit (statement, lock, idle transaction), or left unanswered, by name',
      labelNames: ['statement'],
      registers,
    }),
    poolExhausted: new Counter({
      name: 'scheduler_pool_exhausted_total',
      help: "Calls that got no connection of this process's own pool in time: main, reads",
      labelNames: ['pool'],
      registers,
    }),
    poolConnections: new Gauge({
      name: 'scheduler_database_pool_connections',
      help: 'Connections of the pool: total, idle; and calls waiting for one',
      labelNames: ['state'],
      registers,
    }),
  };
}

/**
 * Process and event-loop figures, under the names that prom-client gives them.
 * @param eventLoopTimerMs every so often the event loop is looked at; this is part of the lag that is shown,
 * and each look wakes an idle process
 */
export function collectProcessMetrics(registry: Registry, eventLoopTimerMs: number): void {
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: eventLoopTimerMs });
}

/** Has a gauge brought up to date whenever somebody scrapes. */
export function onScrape<Label extends string>(gauge: Gauge<Label>, update: () => void): void {
  (gauge as Gauge<Label> & { collect: () => void }).collect = update;
}

/** The same for figures that every replica tells alike, whose labels have to agree: the first hundred of the names are kept. */
export function labelOfFirst(names: readonly string[]): (name: string) => string {
  const kept = new Set(names.slice(0, LABEL_VALUES_MAX));
  return (name) => (kept.has(name) ? name : OTHER);
}

/** For a count that is kept elsewhere: from a 0 before it is known, `increase` would take all of it for new. */
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
