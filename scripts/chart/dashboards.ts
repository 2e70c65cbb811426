import { type Board, figure, graph, type Query } from './dashboard.ts';
import { demandQuery, seriesOf } from './promql.ts';

const API = seriesOf('$namespace', '$release', 'api');
const WORKER = seriesOf('$namespace', '$release', 'worker');
const ANY = seriesOf('$namespace', '$release', '(api|worker)');
const QUEUE = 'queue=~"$queue"';

const demand = demandQuery('$namespace', '$release', '$queue');
/** Every API replica exports the same gauges: one of them counts. */
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
  'What autoscaling sees, and what it makes of it. The replica counts come from kube-state-metrics.',
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
  description: 'The page to look at first: is work done, in time, and without errors?',
  rows: [
    {
      title: 'Now',
      panels: [
        figure('Demand', 'Tasks that are ready, due or in flight.', demand),
        figure('Oldest ready task', 'How long the next task has waited.', oldestReady, {
          unit: 's',
          thresholds: [60, 300],
        }),
        figure('Busy slots', 'Share of the slots that run a task.', busyShare, {
          unit: 'percentunit',
          thresholds: [0.9, 1.01],
        }),
        figure(
          'New dead letters',
          'Tasks that failed for good in the last 30 minutes.',
          `sum((${settled('failed')} unless ${settled('failed')} offset 30m) or increase(${settled('failed')}[30m])) or vector(0)`,
          { thresholds: [1, 100] },
        ),
        figure('API errors', 'Share of the answers that are 5xx.', errorRatio, {
          unit: 'percentunit',
          thresholds: [0.001, 0.01],
        }),
        figure('Last sweep', 'Since the last pass that ended well, whoever ran it.', sinceSweep('any'), {
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
          'Submissions against attempts that ended.',
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
          'From the time a task was due to the start of its attempt.',
          quantiles('scheduler_task_wait_seconds', `${WORKER},${QUEUE}`),
          { unit: 's' },
        ),
        graph('Stores', '1 while the last call was answered.', [
          { expr: `min by (store, pod) (scheduler_store_up{${ANY}})`, legend: '{{store}} {{pod}}' },
        ]),
      ],
    },
  ],
};

const queues: Board = {
  name: 'queues',
  title: 'Scheduler / Queues',
  description: 'What waits, for how long, and what becomes of it.',
  rows: [
    {
      title: 'Waiting',
      panels: [
        graph(
          'Ready and due',
          'Could run now.',
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
          'Claimed and not settled yet.',
          [{ expr: `max by (queue) (scheduler_queue_tasks{${API},${QUEUE},state="inflight"})`, legend: '{{queue}}' }],
          { stack: true },
        ),
        graph(
          'Oldest ready task',
          'Age of the oldest task among the next ones.',
          [{ expr: `max by (queue) (scheduler_queue_oldest_ready_age_seconds{${API},${QUEUE}})`, legend: '{{queue}}' }],
          { unit: 's' },
        ),
        graph(
          'Later and paused',
          'Delayed, waiting for a retry, or in a paused queue: no demand.',
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
          'Committed to PostgreSQL, by priority.',
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
          'Attempts that were settled.',
          [{ expr: rate(settled('.+'), 'outcome'), legend: '{{outcome}}' }],
          { unit: 'ops' },
        ),
        graph(
          'Dead letters',
          'Tasks that failed for good in a worker, by action.',
          [{ expr: rate(settled('failed'), 'queue, action'), legend: '{{queue}} {{action}}' }],
          { unit: 'ops' },
        ),
        graph(
          'Wait',
          'From the time a task was due to the start of its attempt.',
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
          'Entries of Redis that were missing or stale, by cause. A rebuild shows a loss of Redis.',
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
          'Committed tasks that Redis did not take at once.',
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
  description: 'Who executes, how much of it is used, and who sweeps.',
  rows: [
    {
      title: 'Use',
      panels: [
        graph(
          'Slots',
          'Busy, overrun and free, over all workers.',
          [{ expr: `sum by (state) (scheduler_worker_slots{${WORKER}})`, legend: '{{state}}' }],
          { stack: true },
        ),
        replicas,
        graph('Run time', 'Time in the handler.', quantiles('scheduler_task_run_seconds', `${WORKER},${QUEUE}`), {
          unit: 's',
        }),
        graph('Attempts by worker', 'Settled by each.', [{ expr: rate(settled('.+'), 'pod'), legend: '{{pod}}' }], {
          unit: 'ops',
        }),
      ],
    },
    {
      title: 'Guards',
      panels: [
        graph(
          'Starts refused',
          'Claimed, but not started by PostgreSQL.',
          [{ expr: rate(`scheduler_starts_refused_total{${WORKER}}`, 'reason'), legend: '{{reason}}' }],
          { unit: 'ops' },
        ),
        graph(
          'Outcomes refused',
          'Of workers whose tasks had been given to somebody else.',
          [{ expr: rate(`scheduler_stale_settles_total{${WORKER}}`, 'pod'), legend: '{{pod}}' }],
          { unit: 'ops' },
        ),
        graph(
          'Reclaimed',
          'Tasks taken back from dead workers, by whoever swept; counted in PostgreSQL.',
          [
            { expr: `max(rate(scheduler_tasks_reclaimed_total{${API}}[$__rate_interval]))`, legend: 'reclaimed' },
            { expr: `max(rate(scheduler_tasks_buried_total{${API}}[$__rate_interval]))`, legend: 'of these, buried' },
          ],
          { unit: 'ops' },
        ),
        graph(
          'Since the last sweep',
          'By who ran it; kept in PostgreSQL.',
          [
            { expr: sinceSweep('reclaimer'), legend: 'CronJob' },
            { expr: sinceSweep('any'), legend: 'anybody' },
          ],
          { unit: 's' },
        ),
        graph(
          'Passes',
          'Sweeps that ended well, by who ran them.',
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
          'Parts of a sweep, by name; the other parts went on. `pass` is a sweep that failed as a whole.',
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
          'How long a timer of 100 ms takes, one in a hundred.',
          [{ expr: `nodejs_eventloop_lag_p99_seconds{${WORKER}}`, legend: '{{pod}}' }],
          { unit: 's' },
        ),
        graph('Memory', 'Resident.', [{ expr: `process_resident_memory_bytes{${WORKER}}`, legend: '{{pod}}' }], {
          unit: 'bytes',
        }),
      ],
    },
  ],
};

const api: Board = {
  name: 'api',
  title: 'Scheduler / API',
  description: 'Rate, errors and duration of the API, and what stands behind it.',
  rows: [
    {
      title: 'Requests',
      panels: [
        graph(
          'Rate',
          'By route.',
          [{ expr: rate(`scheduler_http_requests_total{${API}}`, 'route'), legend: '{{route}}' }],
          { unit: 'reqps' },
        ),
        graph(
          'Status',
          'By status code.',
          [{ expr: rate(`scheduler_http_requests_total{${API}}`, 'status'), legend: '{{status}}' }],
          { unit: 'reqps' },
        ),
        graph('Duration', 'Of all requests.', quantiles('scheduler_http_request_duration_seconds', API), { unit: 's' }),
        graph(
          'Duration by route',
          'The 95th percentile.',
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
          '429, by replica.',
          [{ expr: rate(`scheduler_rate_limited_total{${API}}`, 'pod'), legend: '{{pod}}' }],
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
        graph('Connections to PostgreSQL', 'Of each pool, and calls that wait for one.', [
          { expr: `sum by (pod, state) (scheduler_database_pool_connections{${ANY}})`, legend: '{{pod}} {{state}}' },
        ]),
        graph(
          'Event loop',
          'How long a timer of 10 ms takes, one in a hundred.',
          [{ expr: `nodejs_eventloop_lag_p99_seconds{${API}}`, legend: '{{pod}}' }],
          { unit: 's' },
        ),
        graph(
          'Requests under way',
          'Memory that bodies and answers take, as it is reckoned, and how much they may.',
          [{ expr: `sum by (pod, kind) (scheduler_in_flight_bytes{${API}})`, legend: '{{pod}} {{kind}}' }],
          { unit: 'bytes' },
        ),
        graph('Memory', 'Resident.', [{ expr: `process_resident_memory_bytes{${API}}`, legend: '{{pod}}' }], {
          unit: 'bytes',
        }),
        graph('CPU', 'Seconds a second.', [
          { expr: rate(`process_cpu_seconds_total{${API}}`, 'pod'), legend: '{{pod}}' },
        ]),
      ],
    },
  ],
};

export const BOARDS: readonly Board[] = [overview, queues, workers, api];
