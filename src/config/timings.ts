/**
 * Every interval and time-out that is not a setting, each with its reason.
 * Settings (see `env.ts`) cover those that tests or operators need shorter.
 */

/** The largest delay of a timer in Node: a longer one would fire at once. */
export const TIMER_MAX_MS = 2_147_483_647;

/** A lost wake-up must not cost more than this. */
export const BLOCKED_WAIT_MAX_MS = 5_000;

/** A refused start (locked, paused, solo) is worth another look after this. */
export const REFUSED_START_DELAY_MS = 1_000;

/** A connection to PostgreSQL has to stand after this. */
export const DATABASE_CONNECT_TIMEOUT_MS = 3_000;

/** A connection to PostgreSQL is replaced after this: behind an address that moves, none may stay with the old server for good. */
export const DATABASE_CONNECTION_LIFETIME_MS = 600_000;

/** A password that was refused is tried once more after this: while it is rotated, role and file disagree for a moment. */
export const DATABASE_LOG_IN_REPEAT_MS = 300;

/** A server that has become read-only makes all connections suspect, but no more often than this: one that stays so must not cost a new connection with every call. */
export const DATABASE_ASTRAY_INTERVAL_MS = 1_000;

/** A statement of a migration that does not get its lock gives up after this, so that it does not dam up the traffic behind it … */
export const MIGRATION_LOCK_TIMEOUT_MS = 5_000;

/** … and the migration begins anew after this. */
export const MIGRATION_REPEAT_MS = 500;

/** A connection for a migration has to stand after this: a pooler may let it wait for a server. */
export const MIGRATION_CONNECT_TIMEOUT_MS = 10_000;

/** A migration that waits for another one says so after this. */
export const MIGRATION_WAIT_LOGGED_MS = 1_000;

/** PostgreSQL ends a statement of the hot path after this; the watermark's overlap must be longer. */
export const STATEMENT_TIMEOUT_MS = 10_000;

/** PostgreSQL ends a transaction whose client has been silent for this: a frozen process must not hold its rows until it counts as dead. */
export const DATABASE_IDLE_IN_TRANSACTION_MS = 5_000;

/** PostgreSQL gives up a client that has not taken what was sent to it for this long: the statement holds its locks meanwhile. */
export const DATABASE_SILENT_CLIENT_MS = 5_000;

/** A migration does more between two statements, on a machine that may be slow. */
export const MIGRATION_IDLE_IN_TRANSACTION_MS = 30_000;

/** PostgreSQL asks an idle connection whether it is still there after this, and again two times. */
export const DATABASE_KEEPALIVE_SECONDS = 20;

/** Ranges of the watermark overlap by this, so that a writer which committed late is still seen. */
export const WATERMARK_OVERLAP_MS = 15_000;

/** A waiting row is given this long to appear in Redis by itself. */
export const WATERMARK_LAG_MS = 5_000;

/** A claim that was not started after this is taken for lost. */
export const CLAIM_LOST_AFTER_MS = 10_000;

/** Rolling scan: every row and every member is looked at once in this time. */
export const ROLLING_SCAN_ROUND_MS = 600_000;

/** Rolling scan: a pause since the last pass counts no longer than this, or the first pass after it would be a long one. */
export const ROLLING_SCAN_IDLE_MAX_MS = 10_000;

/** One duty of a pass goes on for this long; what is left is the next pass's. */
export const SWEEP_DUTY_MS = 1_000;

/** How often the offset to PostgreSQL's clock is measured anew. */
export const CLOCK_MEASURE_INTERVAL_MS = 30_000;

/** A frozen holder must not block the sweep for longer. */
export const SWEEPER_LEASE_MS = 3_000;

/** A statement of a pass ends after this, so that the lease outlasts one that waits for a lock, and the other duties get their turn. */
export const SWEEP_STATEMENT_TIMEOUT_MS = 2_000;

/** While somebody is silent, sweeps come this often, so that death is noticed at the TTL and not later. */
export const ALERT_SWEEP_INTERVAL_MS = 1_000;

/** Between two sweeps, beats are looked at no more often than this, however many workers there are. */
export const WATCH_LOOK_MIN_MS = 100;

/** A beat that failed is tried again after this, or as soon as there is a connection. */
export const BEAT_RETRY_MS = 200;

/** An entry of the registry that has been silent this long and holds nothing is forgotten. */
export const REGISTRY_FORGET_MS = 3_600_000;

/** Commands to Redis fail after this, so that a hung server does not slow submits. */
export const REDIS_COMMAND_TIMEOUT_MS = 1_000;

/** A connection to Redis that gives no answer for this long, though one is due, is replaced: it may be half-open. */
export const REDIS_SILENT_SOCKET_MS = 2_000;

/** A connection to Redis has to stand after this. */
export const REDIS_CONNECT_TIMEOUT_MS = 2_000;

/** Longest pause between two tries to connect to Redis, … */
export const REDIS_RECONNECT_MAX_MS = 1_000;

/** … and that of the heartbeat: after an outage just short of the gap rule a worker has little time left to show that it lives. */
export const REDIS_URGENT_RECONNECT_MS = 200;

/** An outage of a store has ended when no call has failed for this long: one that comes and goes is one line, not many. */
export const OUTAGE_QUIET_MS = 3_000;

/** A statement that times out is logged anew after this, though it has not been asked in between: some come once an hour. */
export const STATEMENT_FAULT_FORGOTTEN_MS = 600_000;

/** After this many failures in a row, commands to Redis fail at once … */
export const REDIS_BREAKER_FAILURES = 3;

/** … and one is let through again after this. */
export const REDIS_BREAKER_RETRY_MS = 1_000;

/** While the Redis user lacks rights, or a call was refused, it is asked for them this often. */
export const RIGHTS_LOOK_INTERVAL_MS = 5_000;

/** A server that refuses a connection says why at once, or not at all. */
export const REDIS_FIRST_WORD_MS = 300;

/** A handler that has overrun its deadline by this while the main loop stands still is killed with its process. */
export const WATCHDOG_OVERRUN_MS = 30_000;

/** How often a worker looks for handlers that go on after their time limit. */
export const OVERRUN_LOOK_INTERVAL_MS = 1_000;

/** A handler that was told to stop is given this long to clean up before a line in the log says that it goes on. */
export const OVERRUN_WARN_AFTER_MS = 5_000;

/** The main loop counts as standing still when it has not ticked for this long. */
export const LOOP_STALLED_MS = 5_000;

/** An outcome whose row somebody else holds is tried again after this; a cancel holds one for a moment … */
export const SETTLE_LOCKED_RETRY_MS = 100;

/** … and if its row is still held after this, there is a warning. */
export const SETTLE_LOCKED_WARN_MS = 1_000;

/** Outcomes that PostgreSQL cannot take are repeated for this long before the worker gives up. */
export const SETTLE_GIVE_UP_MS = 300_000;

/** Queue gauges older than this are not exported: a stale high value must not win the autoscaler's `max`. */
export const GAUGE_STALE_MS = 15_000;

/** How often an API process reads the queues' counts for its gauges. */
export const GAUGE_INTERVAL_MS = 5_000;

/** `http.request`: a target with which no connection stands after this, TLS handshake included, counts as unreachable. */
export const HTTP_CONNECT_TIMEOUT_MS = 10_000;

/** `http.request`: a connection is kept this long for the next request to its target; many targets close theirs after 5 s. */
export const HTTP_KEEP_ALIVE_MS = 4_000;

/** `http.request`: a connection that is silent for this is probed, so that a target that has gone is noticed before the time limit. */
export const HTTP_TCP_PROBE_MS = 60_000;

/** A `Retry-After` beyond this is cut: a target must not park a task for days. */
export const HTTP_RETRY_AFTER_MAX_MS = 3_600_000;

/** A child process that ended starts again after this, doubled with every further crash in a row … */
export const CHILD_RESTART_MIN_MS = 500;

/** … up to this, … */
export const CHILD_RESTART_MAX_MS = 30_000;

/** … and one that has run this long starts the count anew. */
export const CHILD_STEADY_AFTER_MS = 60_000;

/** A handler's `retryAfterMs` beyond this is cut: a mistaken unit must not park a task for centuries. */
export const RETRY_AFTER_MAX_MS = 30 * 86_400_000;

/** Pause before a worker asks a store again that did not answer, doubled with every failure in a row … */
export const STORE_RETRY_MIN_MS = 100;

/** … up to this, so that work goes on soon after the store is back. */
export const STORE_RETRY_MAX_MS = 2_000;

/** A blocking command that was refused (by a replica, by a server that loads) is sent again after this. */
export const BLOCKED_WAIT_REFUSED_PAUSE_MS = 500;

/** A blocking command that is this late after its own time-out hangs, and its connection is replaced. */
export const BLOCKED_WAIT_SLACK_MS = 1_000;

/** What is stopped is waited for this long: a turn that hangs on a store ends with the store's connections. */
export const LAST_TURN_MS = 2_000;

/** Connections that PostgreSQL has not let go of after this are cut off. */
export const DATABASE_CLOSE_MS = 1_000;

/** How often the main loop shows the heartbeat thread that it still turns. */
export const LOOP_TICK_INTERVAL_MS = 500;

/** How often the lag of the API's event loop is measured: fine enough to see what a request waits for. */
export const EVENT_LOOP_TIMER_API_MS = 10;

/** Of a worker's, which may stand idle by the hundred: a timer every 10 ms was half of what one costs then. */
export const EVENT_LOOP_TIMER_WORKER_MS = 100;

/** A worker claims without having beaten after this: its tasks are safe all the same, it only is not listed yet. */
export const FIRST_BEAT_WAIT_MS = 1_000;

/** A process that is about to end waits this long for its last words to reach Redis. */
export const LAST_WORDS_MS = 1_000;

/** What a worker told of itself last is kept this long after its last beat, for people and for whoever takes its tasks back. */
export const WORKER_DESCRIPTION_KEPT_MS = 86_400_000;

/** So many workers that were presumed dead are listed, the latest ones. */
export const DEAD_WORKERS_MAX = 200;

/** The module of HANDLERS has to be loaded after this, its top-level code included. */
export const HANDLERS_LOAD_MS = 30_000;

/** The heartbeat thread gets this long to take its worker out of the registry. */
export const HEARTBEAT_LEAVE_MS = 2_500;

/** A heartbeat thread that ended unexpectedly is started again after this. */
export const HEARTBEAT_RESTART_MS = 500;

/** Handlers that were told to stop at the end of the grace period get this long before their tasks are released. */
export const ABORTED_HANDLERS_MS = 500;

/** Outcomes that are still open at the end of a worker get this long, less than Kubernetes leaves after the grace period. */
export const LAST_SETTLE_MS = 3_000;

/** Handlers that still run when everything else of their process has ended are cut off after this. */
export const EXIT_LINGER_MS = 500;

/** A claim loop that has not turned for this long makes its worker unhealthy; one turn takes seconds at most. */
export const CLAIM_LOOP_STALLED_MS = 60_000;

/** A claim older than this is left to the rolling scan: whoever runs for long must not be looked up in every pass. */
export const CLAIM_LOOK_UNTIL_MS = 40_000;

/** Old tasks are looked for once in this time. */
export const PRUNE_INTERVAL_MS = 60_000;

/** A run of the reclaimer that ended no pass itself is fine if somebody did within its window, or this long before it. */
export const RECLAIMER_OTHERS_MS = 10_000;

/** A worker stands in for the reclaimer when the last pass is this long ago: longer than its interval, … */
export const STAND_IN_AFTER_MS = 3_000;

/** An API process leaves it to the workers for this long, so that it sweeps only where no worker does. */
export const API_STANDS_IN_AFTER_MS = 5_000;

/** An API process that stands by beats this often, at least, in the time without any beat that counts as an outage of Redis. */
export const API_BEATS_A_GAP = 3;

/** A process that may stand in looks whether it has to this often, … */
export const STAND_IN_LOOK_MIN_MS = 1_000;

/** … the more workers the seldomer, … */
export const STAND_IN_LOOK_PER_WORKER_MS = 300;

/** … but often enough that the last one alive notices within the recovery bound that all others are gone. */
export const STAND_IN_LOOK_MAX_MS = 3_000;

/** A process that starts waits for its connection to Redis for this long, and then goes on without. */
export const FIRST_CONTACT_MS = 1_000;

/** The API listens, unready, when PostgreSQL has not answered after this, so that probes are answered. */
export const FIRST_CONTACT_WAIT_MS = 2_000;

/** Idle connections to the API are kept longer than the 60 s after which common load balancers close theirs: a race loses requests. */
export const API_KEEP_ALIVE_MS = 65_000;

/** A request to the API has to have arrived as a whole after this; the largest batch takes seconds. */
export const API_REQUEST_ARRIVAL_MS = 60_000;

/** Submissions that share a statement wait for the lock of an idempotency key for this long, and then go on without the one that has it … */
export const KEY_PATIENCE_MS = 200;

/** … which is tried alone again after this. */
export const KEY_RETRY_MS = 50;

/** A batch, which is all or nothing, waits for its locks for this long: what it holds meanwhile, its new queues above all, others wait for. */
export const BATCH_PATIENCE_MS = 3_000;

/** A submission that could not be sent to PostgreSQL for this long, since earlier ones hang, is refused: clients give up soon. */
export const SUBMIT_WAIT_MAX_MS = 5_000;

/** A request waits this long for memory that others under way hold: a moment's crowd passes, and a client has not given up yet. */
export const MEMORY_WAIT_MAX_MS = 1_000;

/** A client has to have taken its answer after this, or its connection is cut: what it does not take fills the memory. */
export const API_ANSWER_TAKEN_MS = 60_000;

/** A client that was refused in the middle of its body may go on sending for this long: cut off at once, it could lose the answer. */
export const REFUSED_BODY_LINGER_MS = 1_000;

/** A queue is deleted by hand if all tasks can be looked at in this time; where there are more, it is left to its expiry. */
export const QUEUE_SURVEY_MS = 10_000;

/** A task is committed this long after its id was made, at most: a batch waits for its parts, and a statement is repeated. */
export const QUEUE_SUBMISSION_LAG_MS = 600_000;

/** A page of a list looks for rows that fit its filter for this long, and then answers with what it has: a person waits. */
export const LIST_SEARCH_MS = 1_000;

/** A requeue by filter takes this long at most, and then says where to go on: well below the 30 s after which clients and proxies give up. */
export const BULK_REQUEUE_MS = 5_000;

/** The answers to one pass about pods have to be there after this: the sweeper's lease must outlast the question. */
export const POD_CHECK_TIMEOUT_MS = 1_500;

/** Any other call of the Kubernetes API fails after this. */
export const KUBERNETES_CALL_TIMEOUT_MS = 2_000;

/** The kubelet replaces a token long before it ends; it is read anew this often. */
export const KUBERNETES_TOKEN_READ_MS = 60_000;

/** A worker looks this often whether its pod's deletion cost has changed enough; Kubernetes advises against frequent changes. */
export const DELETION_COST_INTERVAL_MS = 30_000;

/** `kubernetes.job`: how often a job is looked at. */
export const JOB_POLL_INTERVAL_MS = 2_000;

/** `kubernetes.job`: a container that cannot start for its image or configuration gets this long to mend. */
export const JOB_START_PATIENCE_MS = 60_000;

/** `kubernetes.job`: Kubernetes ends a job this long after the attempt's time limit, when no worker is left to do it. */
export const JOB_DEADLINE_SLACK_MS = 30_000;

/** `kubernetes.job`: a job that ended and was not deleted, since its worker died, is kept this long. */
export const JOB_KEPT_SECONDS = 3_600;
