import { type Board, figure, graph, type Query } from './dashboard.ts';
import { demandQuery, seriesOf } from './promql.ts';

const API = seriesOf('$namespace', '$release', 'api');
const WORKER = seriesOf('$namespace', '$release', 'worker');
const ANY = seriesOf('$namespace', '$release', '(api|worker)');
const QUEUE = 'queue=~"$queue"';

const demand = demandQuery('$namespace', '$release', '$queue');
/** Every API replica exports the same gauges, so `max` uses one of them. */
const inState = (states: string): string =>
  `sum(max by (queue, state) (scheduler_queue_tasks{${API},${QUEUE},state=~"${states}"}))`;
const oldestReady = `max(scheduler_queue_oldest_ready_age_seconds{${API},${QUEUE}})`;
const settled = (outcomes: string): string =>
  `scheduler_tasks_settled_total{${WORKER},${QUEUE},outcome=~"${outcomes}"}`;
const busyShare = `sum(scheduler_worker_slots{${WORKER},state=~"busy|overrun"}) / sum(scheduler_worker_slots{${WORKER}})`;
const errorRatio = `(sum(rate(scheduler_http_requests_total{${API},status=~"5.."}[$__rate_interval])) or vector(0)) / sum(rate(scheduler_http_requests_total{${API}}[$__rate_interval]))`;
const sinceSweep = (role: string): string =>
  `time() - max(scheduler_reclaimer_last_success_timestamp_seconds{${API},role="${role}"})`;

function quantiles(metric: string, matchers: string): Query[] {
  return [0.5, 0.95, 0.99].map((quantile) => ({
    expr: `histogram_quantile(${quantile}, sum by (le) (rate(${metric}_bucket{${matchers}}[$__rate_interval])))`,
    legend: `p${quantile * 100}`,
  }));
}

const rate = (expr: string, by: string): string => `sum by (${by}) (rate(${expr}[$__rate_interval]))`;

const replicas = graph(
  'Demand and workers',
  'The demand that autoscaling sees, and the workers that it asks for. The replica counts come from kube-state-metrics.',
  [
    { expr: demand, legend: 'demand' },
    { expr: `count(scheduler_worker_slots{${WORKER},state="busy"})`, legend: 'workers that are scraped' },
    {
      expr: 'sum(kube_horizontalpodautoscaler_status_desired_replicas{namespace="$namespace",horizontalpodautoscaler=~"(keda-hpa-)?$release-worker-.+"})',
      legend: 'desired',
    },
    {
      expr: 'sum(kube_horizontalpodautoscaler_spec_max_replicas{namespace="$namespace",horizontalpodautoscaler=~"(keda-hpa-)?$release-worker-.+"})',
      legend: 'largest',
    },
  ],
);

const overview: Board = {
  name: 'overview',
  title: 'Scheduler / Overview',
  description: 'Look at this page first: are tasks executed, in time and without errors?',
  rows: [
    {
      title: 'Now',
      panels: [
        figure('Demand', 'Tasks that are ready, due or in flight.', demand),
        figure('Oldest ready task', 'Time for which the oldest of the next tasks has been ready.', oldestReady, {
          unit: 's',
          thresholds: [60, 300],
        }),
        figure('Busy slots', 'Share of the slots that run a task.', busyShare, {
          unit: 'percentunit',
          thresholds: [0.9, 1.01],
        }),
        figure(
          'New dead letters',
          'Tasks that failed permanently in the last 30 minutes.',
          `sum((${settled('failed')} unless ${settled('failed')} offset 30m) or increase(${settled('failed')}[30m])) or vector(0)`,
          { thresholds: [1, 100] },
        ),
        figure('API errors', 'Share of answers with a status of 5xx.', errorRatio, {
          unit: 'percentunit',
          thresholds: [0.001, 0.01],
        }),
        figure('Last sweep', 'Time since the last successful pass of any process.', sinceSweep('any'), {
          unit: 's',
          thresholds: [15, 60],
        }),
      ],
    },
    {
      title: 'Flow',
      panels: [
        graph(
          'Tasks in and out',
          'Submitted tasks, and attempts that ended.',
          [
            {
              expr: `sum(rate(scheduler_tasks_submitted_total{${API},${QUEUE}}[$__rate_interval]))`,
              legend: 'submitted',
            },
            { expr: rate(settled('.+'), 'outcome'), legend: '{{outcome}}' },
          ],
          { unit: 'ops' },
        ),
        replicas,
        graph(
          'Wait',
          'Time between the moment a task became due and the start of its attempt.',
          quantiles('scheduler_task_wait_seconds', `${WORKER},${QUEUE}`),
          { unit: 's' },
        ),
        graph('Stores', '1 if the store answered the last call.', [
          { expr: `min by (store, pod) (scheduler_store_up{${ANY}})`, legend: '{{store}} {{pod}}' },
        ]),
      ],
    },
  ],
};

const queues: Board = {
  name: 'queues',
  title: 'Scheduler / Queues',
  description: 'The waiting tasks of each queue, how long they wait, and how they end.',
  rows: [
    {
      title: 'Waiting',
      panels: [
        graph(
          'Ready and due',
          'Tasks that may run now.',
          [
            {
              expr: `sum by (queue) (max by (queue, state) (scheduler_queue_tasks{${API},${QUEUE},state=~"ready|due"}))`,
              legend: '{{queue}}',
            },
          ],
          { stack: true },
        ),
        graph(
          'In flight',
          'Tasks that are claimed but not yet settled.',
          [{ expr: `max by (queue) (scheduler_queue_tasks{${API},${QUEUE},state="inflight"})`, legend: '{{queue}}' }],
          { stack: true },
        ),
        graph(
          'Oldest ready task',
          'Time for which the oldest of the next tasks has been ready.',
          [{ expr: `max by (queue) (scheduler_queue_oldest_ready_age_seconds{${API},${QUEUE}})`, legend: '{{queue}}' }],
          { unit: 's' },
        ),
        graph(
          'Later and paused',
          'Tasks that are delayed, wait for a retry or are in a paused queue. They do not count as demand.',
          [
            { expr: inState('delayed'), legend: 'delayed' },
            { expr: inState('paused'), legend: 'paused' },
          ],
          { stack: true },
        ),
      ],
    },
    {
      title: 'Flow',
      panels: [
        graph(
          'Submitted',
          'Tasks committed to PostgreSQL, by priority.',
          [
            {
              expr: rate(`scheduler_tasks_submitted_total{${API},${QUEUE}}`, 'queue, priority'),
              legend: '{{queue}} {{priority}}',
            },
          ],
          { unit: 'ops' },
        ),
        graph(
          'Outcomes',
          'Settled attempts, by outcome.',
          [{ expr: rate(settled('.+'), 'outcome'), legend: '{{outcome}}' }],
          { unit: 'ops' },
        ),
        graph(
          'Dead letters',
          'Tasks that failed permanently in a worker, by action.',
          [{ expr: rate(settled('failed'), 'queue, action'), legend: '{{queue}} {{action}}' }],
          { unit: 'ops' },
        ),
        graph(
          'Wait',
          'Time between the moment a task became due and the start of its attempt.',
          quantiles('scheduler_task_wait_seconds', `${WORKER},${QUEUE}`),
          { unit: 's' },
        ),
      ],
    },
    {
      title: 'Order in Redis',
      panels: [
        graph(
          'Put right',
          'Corrected entries of Redis that were missing or stale, by cause. The cause `rebuild` shows that Redis lost data.',
          [
            {
              expr: `max by (cause) (rate(scheduler_reconciled_total{${API}}[$__rate_interval]))`,
              legend: '{{cause}}',
            },
          ],
          { unit: 'ops' },
        ),
        graph(
          'Entered late',
          'Committed tasks that could not be entered in Redis at once.',
          [{ expr: rate(`scheduler_enqueue_failures_total{${API}}`, 'pod'), legend: '{{pod}}' }],
          { unit: 'ops' },
        ),
      ],
    },
  ],
};

const workers: Board = {
  name: 'workers',
  title: 'Scheduler / Workers',
  description: 'The workers, the use of their slots, and the sweeps.',
  rows: [
    {
      title: 'Use',
      panels: [
        graph(
          'Slots',
          'Busy, overrun and free slots of all workers.',
          [{ expr: `sum by (state) (scheduler_worker_slots{${WORKER}})`, legend: '{{state}}' }],
          { stack: true },
        ),
        replicas,
        graph('Run time', 'Run time of handlers.', quantiles('scheduler_task_run_seconds', `${WORKER},${QUEUE}`), {
          unit: 's',
        }),
        graph('Attempts by worker', 'Settled attempts.', [{ expr: rate(settled('.+'), 'pod'), legend: '{{pod}}' }], {
          unit: 'ops',
        }),
      ],
    },
    {
      title: 'Guards',
      panels: [
        graph(
          'Starts refused',
          'Claimed tasks that PostgreSQL did not start.',
          [{ expr: rate(`scheduler_starts_refused_total{${WORKER}}`, 'reason'), legend: '{{reason}}' }],
          { unit: 'ops' },
        ),
        graph(
          'Outcomes refused',
          'Outcomes of workers whose tasks had been given to other workers.',
          [{ expr: rate(`scheduler_stale_settles_total{${WORKER}}`, 'pod'), legend: '{{pod}}' }],
          { unit: 'ops' },
        ),
        graph(
          'Reclaimed',
          'Tasks taken back from dead workers by any process. PostgreSQL has the counters.',
          [
            { expr: `max(rate(scheduler_tasks_reclaimed_total{${API}}[$__rate_interval]))`, legend: 'reclaimed' },
            { expr: `max(rate(scheduler_tasks_buried_total{${API}}[$__rate_interval]))`, legend: 'of these, buried' },
          ],
          { unit: 'ops' },
        ),
        graph(
          'Since the last sweep',
          'Time since the last successful pass, by the process that ran it. PostgreSQL has the times.',
          [
            { expr: sinceSweep('reclaimer'), legend: 'CronJob' },
            { expr: sinceSweep('any'), legend: 'anybody' },
          ],
          { unit: 's' },
        ),
        graph(
          'Passes',
          'Successful sweeps, by the process that ran them.',
          [
            {
              expr: `max by (role) (rate(scheduler_reclaimer_passes{${API}}[$__rate_interval]))`,
              legend: '{{role}}',
            },
          ],
          { unit: 'ops' },
        ),
        graph(
          'Duties that failed',
          'Failed duties of the sweep, by name. The other duties continued. `pass` means that the whole sweep failed.',
          [
            {
              expr: `max by (duty) (rate(scheduler_sweep_duty_failures_total{${API}}[$__rate_interval]))`,
              legend: '{{duty}}',
            },
          ],
          { unit: 'ops' },
        ),
      ],
    },
    {
      title: 'Processes',
      panels: [
        graph(
          'Event loop',
          'Actual duration of a timer of 100 ms: the 99th percentile.',
          [{ expr: `nodejs_eventloop_lag_p99_seconds{${WORKER}}`, legend: '{{pod}}' }],
          { unit: 's' },
        ),
        graph('Memory', 'Resident memory.', [{ expr: `process_resident_memory_bytes{${WORKER}}`, legend: '{{pod}}' }], {
          unit: 'bytes',
        }),
      ],
    },
  ],
};

const api: Board = {
  name: 'api',
  title: 'Scheduler / API',
  description: 'Rate, errors and duration of requests to the API, and the resources behind it.',
  rows: [
    {
      title: 'Requests',
      panels: [
        graph(
          'Rate',
          'Requests, by route.',
          [{ expr: rate(`scheduler_http_requests_total{${API}}`, 'route'), legend: '{{route}}' }],
          { unit: 'reqps' },
        ),
        graph(
          'Status',
          'Requests, by status code.',
          [{ expr: rate(`scheduler_http_requests_total{${API}}`, 'status'), legend: '{{status}}' }],
          { unit: 'reqps' },
        ),
        graph('Duration', 'Duration of all requests.', quantiles('scheduler_http_request_duration_seconds', API), {
          unit: 's',
        }),
        graph(
          'Duration by route',
          '95th percentile of the duration.',
          [
            {
              expr: `histogram_quantile(0.95, sum by (le, route) (rate(scheduler_http_request_duration_seconds_bucket{${API}}[$__rate_interval])))`,
              legend: '{{route}}',
            },
          ],
          { unit: 's' },
        ),
        graph(
          'Refused by the rate limit',
          'Answers with status 429, by replica.',
          [{ expr: rate(`scheduler_rate_limited_total{${API}}`, 'pod'), legend: '{{pod}}' }],
          { unit: 'reqps' },
        ),
        graph(
          'Refused because of their key',
          'Answers with status 401 or 429, by reason: missing; unknown (wrong, incomplete or revoked); expired; slowed (too many wrong keys from one address).',
          [{ expr: rate(`scheduler_auth_failures_total{${API}}`, 'reason'), legend: '{{reason}}' }],
          { unit: 'reqps' },
        ),
        graph(
          'Left out of the audit log',
          'Refused requests of which the audit log has no row, because too many different ones waited or PostgreSQL refuses their text. Not zero: look at the log of the API.',
          [{ expr: rate(`scheduler_audit_refusals_dropped_total{${API}}`, 'pod'), legend: '{{pod}}' }],
          { unit: 'reqps' },
        ),
        graph(
          'Submitted',
          'Tasks committed to PostgreSQL.',
          [{ expr: rate(`scheduler_tasks_submitted_total{${API},${QUEUE}}`, 'pod'), legend: '{{pod}}' }],
          { unit: 'ops' },
        ),
      ],
    },
    {
      title: 'Behind it',
      panels: [
        graph('Connections to PostgreSQL', 'Connections of each pool, and calls that wait for one.', [
          { expr: `sum by (pod, state) (scheduler_database_pool_connections{${ANY}})`, legend: '{{pod}} {{state}}' },
        ]),
        graph(
          'Event loop',
          'Actual duration of a timer of 10 ms: the 99th percentile.',
          [{ expr: `nodejs_eventloop_lag_p99_seconds{${API}}`, legend: '{{pod}}' }],
          { unit: 's' },
        ),
        graph(
          'Requests under way',
          'Estimated memory of request bodies and answers, and its limit.',
          [{ expr: `sum by (pod, kind) (scheduler_in_flight_bytes{${API}})`, legend: '{{pod}} {{kind}}' }],
          { unit: 'bytes' },
        ),
        graph('Memory', 'Resident memory.', [{ expr: `process_resident_memory_bytes{${API}}`, legend: '{{pod}}' }], {
          unit: 'bytes',
        }),
        graph('CPU', 'CPU seconds per second.', [
          { expr: rate(`process_cpu_seconds_total{${API}}`, 'pod'), legend: '{{pod}}' },
        ]),
      ],
    },
  ],
};

export const BOARDS: readonly Board[] = [overview, queues, workers, api];
