/**
 * Every interval and timeout that is not a setting, with its reason.
 * An interval that tests or operators need to shorten is a setting (see `env.ts`).
 */

/** The largest delay of a timer in Node. A longer one would fire at once. */
export const TIMER_MAX_MS = 2_147_483_647;

/** A blocking wait ends after this, so that a lost wake-up delays work by no more than this. */
export const BLOCKED_WAIT_MAX_MS = 5_000;

/** A task whose start was refused (locked, paused, solo) can be claimed again after this. */
export const REFUSED_START_DELAY_MS = 1_000;

/** Opening a connection to PostgreSQL fails after this. */
export const DATABASE_CONNECT_TIMEOUT_MS = 3_000;

/** A connection to PostgreSQL is replaced after this, so that it does not stay with an old server for long. */
export const DATABASE_CONNECTION_LIFETIME_MS = 600_000;

/** A refused password is tried once more after this: during a rotation, role and file differ for a moment. */
export const DATABASE_LOG_IN_REPEAT_MS = 300;

/**
 * When a server has become read-only, the pool replaces all connections, at most this often. Otherwise a server that
 * stays read-only would cost a new connection with every call.
 */
export const DATABASE_ASTRAY_INTERVAL_MS = 1_000;

/** A statement of a migration that waits for a lock gives up after this, because other statements queue behind it … */
export const MIGRATION_LOCK_TIMEOUT_MS = 5_000;

/** … and the migration starts again after this. */
export const MIGRATION_REPEAT_MS = 500;

/** Opening a connection for a migration fails after this. A pooler may let it wait for a server. */
export const MIGRATION_CONNECT_TIMEOUT_MS = 10_000;

/** A migration that has waited this long for another one logs that it waits. */
export const MIGRATION_WAIT_LOGGED_MS = 1_000;

/** PostgreSQL ends a statement of the hot path after this. The watermark's overlap must be longer. */
export const STATEMENT_TIMEOUT_MS = 10_000;

/**
 * PostgreSQL ends a transaction whose client has been silent for this long. Otherwise a frozen process would hold its
 * rows until it counts as dead.
 */
export const DATABASE_IDLE_IN_TRANSACTION_MS = 5_000;

/** PostgreSQL drops a client that has not accepted data for this long, because its statement holds locks meanwhile. */
export const DATABASE_SILENT_CLIENT_MS = 5_000;

/** The limit for an idle transaction of a migration, which does more between two statements. */
export const MIGRATION_IDLE_IN_TRANSACTION_MS = 30_000;

/** PostgreSQL probes an idle connection after this, and two more times before it gives up. */
export const DATABASE_KEEPALIVE_SECONDS = 20;

/** Ranges of the watermark overlap by this, so that a row that was committed late is still seen. */
export const WATERMARK_OVERLAP_MS = 15_000;

/** The watermark and the scan leave out rows younger than this, because their enqueue may still be under way. */
export const WATERMARK_LAG_MS = 5_000;

/** A claim that was not started counts as lost after this. */
export const CLAIM_LOST_AFTER_MS = 10_000;

/** The rolling scan looks at every row and every member once in this time. */
export const ROLLING_SCAN_ROUND_MS = 600_000;

/** The rolling scan counts a longer pause since the last pass as this, so that the next pass is not long. */
export const ROLLING_SCAN_IDLE_MAX_MS = 10_000;

/** One duty of a pass works for this long. The next pass does the rest. */
export const SWEEP_DUTY_MS = 1_000;

/** The offset to PostgreSQL's clock is measured this often. */
export const CLOCK_MEASURE_INTERVAL_MS = 30_000;

/** The sweeper's lease lasts this long, so that a frozen holder does not block the sweep for longer. */
export const SWEEPER_LEASE_MS = 3_000;

/** A statement of a pass ends after this, so that the lease outlasts it and the other duties get their turn. */
export const SWEEP_STATEMENT_TIMEOUT_MS = 2_000;

/** While a worker is silent, a sweep starts this often, so that its death is noticed at the TTL and not later. */
export const ALERT_SWEEP_INTERVAL_MS = 1_000;

/** Between two sweeps, the sweeper reads the heartbeats at most this often, even with many workers. */
export const WATCH_LOOK_MIN_MS = 100;

/** A failed heartbeat is tried again after this, or as soon as there is a connection. */
export const BEAT_RETRY_MS = 200;

/** An entry of the registry is removed when it has been silent for this long and holds nothing. */
export const REGISTRY_FORGET_MS = 3_600_000;

/** A command to Redis fails after this, so that a hung server does not slow down submits. */
export const REDIS_COMMAND_TIMEOUT_MS = 1_000;

/** A connection to Redis is replaced when an expected reply does not come for this long: it may be half-open. */
export const REDIS_SILENT_SOCKET_MS = 2_000;

/** Opening a connection to Redis fails after this. */
export const REDIS_CONNECT_TIMEOUT_MS = 2_000;

/** Longest pause between two attempts to connect to Redis, … */
export const REDIS_RECONNECT_MAX_MS = 1_000;

/** … and the same for the heartbeat: after an outage just below the gap, a worker has little time left to beat. */
export const REDIS_URGENT_RECONNECT_MS = 200;

/** An outage of a store has ended when no call has failed for this long, so that a flapping store logs little. */
export const OUTAGE_QUIET_MS = 3_000;

/**
 * A statement that times out again is logged again after this, even if it has not succeeded in between: some
 * statements run once an hour.
 */
export const STATEMENT_FAULT_FORGOTTEN_MS = 600_000;

/** After this many failures in a row, commands to Redis fail at once … */
export const REDIS_BREAKER_FAILURES = 3;

/** … and one command is let through again after this. */
export const REDIS_BREAKER_RETRY_MS = 1_000;

/** While the Redis user lacks rights, or after a refused call, the rights are checked this often. */
export const RIGHTS_LOOK_INTERVAL_MS = 5_000;

/** A Redis server that refuses a connection says why within this time, or not at all. */
export const REDIS_FIRST_WORD_MS = 300;

/** While the main loop stands still, the watchdog kills the process if a handler is past its deadline by this. */
export const WATCHDOG_OVERRUN_MS = 30_000;

/** A worker looks this often for handlers that go on after their time limit. */
export const OVERRUN_LOOK_INTERVAL_MS = 1_000;

/** A handler that was told to stop has this long to clean up. After that, a log line says that it goes on. */
export const OVERRUN_WARN_AFTER_MS = 5_000;

/** The main loop counts as standing still when it has not ticked for this long. */
export const LOOP_STALLED_MS = 5_000;

/** A settle is tried again after this when another transaction holds the row. A cancel holds a row for a moment … */
export const SETTLE_LOCKED_RETRY_MS = 100;

/** … and if the row is still locked after this, a warning is logged. */
export const SETTLE_LOCKED_WARN_MS = 1_000;

/** A worker repeats outcomes that PostgreSQL cannot take for this long before it gives up. */
export const SETTLE_GIVE_UP_MS = 300_000;

/** Queue gauges older than this are not exported, because a stale high value would win the autoscaler's `max`. */
export const GAUGE_STALE_MS = 15_000;

/** An API process reads the queues' counts for its gauges this often. */
export const GAUGE_INTERVAL_MS = 5_000;

/** An API process looks for the oldest snapshot of PostgreSQL this often … */
export const SNAPSHOT_LOOK_MS = 15_000;

/** … remembers this often which transaction id was the next one, which is how exactly it knows a snapshot's age … */
export const SNAPSHOT_SAMPLE_MS = 60_000;

/** … and shows no age when it has got no answer for this long. */
export const SNAPSHOT_STALE_MS = 60_000;

/** `http.request`: a target is unreachable when connecting, TLS handshake included, takes longer than this. */
export const HTTP_CONNECT_TIMEOUT_MS = 10_000;

/** `http.request`: an idle connection is kept this long for the next request. Many targets close theirs after 5 s. */
export const HTTP_KEEP_ALIVE_MS = 4_000;

/**
 * `http.request`: a connection is probed when it has been silent for this long, so that a dead target is noticed
 * before the time limit.
 */
export const HTTP_TCP_PROBE_MS = 60_000;

/** A longer `Retry-After` is cut to this, so that a target cannot delay a task for days. */
export const HTTP_RETRY_AFTER_MAX_MS = 3_600_000;

/** A child process that ended is started again after this. The delay doubles with every further crash in a row … */
export const CHILD_RESTART_MIN_MS = 500;

/** … up to this, … */
export const CHILD_RESTART_MAX_MS = 30_000;

/** … and a child that has run for this long starts the count again. */
export const CHILD_STEADY_AFTER_MS = 60_000;

/** A longer `retryAfterMs` of a handler is cut to this, because a wrong unit could delay a task for centuries. */
export const RETRY_AFTER_MAX_MS = 30 * 86_400_000;

/** Pause before a worker asks a store again that did not answer. It doubles with every failure in a row … */
export const STORE_RETRY_MIN_MS = 100;

/** … up to this, so that work goes on soon after the store is back. */
export const STORE_RETRY_MAX_MS = 2_000;

/** A blocking command that was refused (by a replica, or by a server that is loading) is sent again after this. */
export const BLOCKED_WAIT_REFUSED_PAUSE_MS = 500;

/** A blocking command that is late by this after its own timeout counts as hung, and its connection is replaced. */
export const BLOCKED_WAIT_SLACK_MS = 1_000;

/**
 * A service that stops waits this long for its last turn. A turn that hangs on a store ends when the store's
 * connections are closed.
 */
export const LAST_TURN_MS = 2_000;

/** Connections that PostgreSQL has not closed after this are cut off. */
export const DATABASE_CLOSE_MS = 1_000;

/** The main loop shows the heartbeat thread this often that it still runs. */
export const LOOP_TICK_INTERVAL_MS = 500;

/** The lag of the API's event loop is measured this often, which is fine enough to show what a request waits for. */
export const EVENT_LOOP_TIMER_API_MS = 10;

/** The same for a worker. A timer every 10 ms was half of the cost of an idle worker, and many are idle. */
export const EVENT_LOOP_TIMER_WORKER_MS = 100;

/** A worker claims after this even without a first heartbeat. Its tasks are safe; it just is not listed yet. */
export const FIRST_BEAT_WAIT_MS = 1_000;

/** A process that is about to end waits this long until its last message has reached Redis. */
export const LAST_WORDS_MS = 1_000;

/** A worker's description is kept this long after its last beat, for operators and for the reclaim. */
export const WORKER_DESCRIPTION_KEPT_MS = 86_400_000;

/** The list of workers that were presumed dead holds this many, the latest ones. */
export const DEAD_WORKERS_MAX = 200;

/** Loading the module of HANDLERS, including its top-level code, fails after this. */
export const HANDLERS_LOAD_MS = 30_000;

/** The heartbeat thread has this long to remove its worker from the registry. */
export const HEARTBEAT_LEAVE_MS = 2_500;

/** A heartbeat thread that ended unexpectedly is started again after this. */
export const HEARTBEAT_RESTART_MS = 500;

/** Handlers that are told to stop at the end of the grace period have this long before their tasks are released. */
export const ABORTED_HANDLERS_MS = 500;

/** Outcomes that are still open when a worker ends have this long. Kubernetes leaves more after the grace period. */
export const LAST_SETTLE_MS = 3_000;

/** Handlers that still run when the rest of the process has ended are cut off after this. */
export const EXIT_LINGER_MS = 500;

/** A worker is unhealthy when its claim loop has not turned for this long. One turn takes seconds at most. */
export const CLAIM_LOOP_STALLED_MS = 60_000;

/** Only the rolling scan looks at claims older than this, so that long runs are not looked up in every pass. */
export const CLAIM_LOOK_UNTIL_MS = 40_000;

/** The prune looks for old tasks this often. */
export const PRUNE_INTERVAL_MS = 60_000;

/** A past day that cannot be dropped yet is looked at again after this. Its old tasks stay that much longer. */
export const PAST_DAY_PAUSE_MS = 3_600_000;

/**
 * A run of the reclaimer without a pass of its own succeeds if another process ended a pass within its window, or this
 * long before it.
 */
export const RECLAIMER_OTHERS_MS = 10_000;

/** A worker stands in for the reclaimer when the last pass ended this long ago, which is longer than its interval, … */
export const STAND_IN_AFTER_MS = 3_000;

/** … and an API process waits this long, so that it sweeps only if no worker does. */
export const API_STANDS_IN_AFTER_MS = 5_000;

/** An API process that may stand in beats at least this many times within HEARTBEAT_GAP. */
export const API_BEATS_A_GAP = 3;

/** A process that may stand in looks this often whether it has to, … */
export const STAND_IN_LOOK_MIN_MS = 1_000;

/** … less often the more workers there are, … */
export const STAND_IN_LOOK_PER_WORKER_MS = 300;

/** … but often enough that the last live worker notices within the recovery bound that all others are gone. */
export const STAND_IN_LOOK_MAX_MS = 3_000;

/** A process that starts waits this long for its connection to Redis, and then goes on without it. */
export const FIRST_CONTACT_MS = 1_000;

/** The API starts to listen, unready, when PostgreSQL has not answered after this, so that it can answer probes. */
export const FIRST_CONTACT_WAIT_MS = 2_000;

/**
 * Idle connections to the API are kept longer than the 60 s after which common load balancers close theirs. Otherwise
 * both sides race, and requests get lost.
 */
export const API_KEEP_ALIVE_MS = 65_000;

/** A request to the API has to arrive completely within this time. The largest batch takes seconds. */
export const API_REQUEST_ARRIVAL_MS = 60_000;

/**
 * Submissions that share a statement wait this long for the lock of an idempotency key, and then go on without the
 * submission that needs it …
 */
export const KEY_PATIENCE_MS = 200;

/** … which is tried again alone after this. */
export const KEY_RETRY_MS = 50;

/**
 * A batch, which is all or nothing, waits this long for its locks. Others wait for what it holds meanwhile, above all
 * for its new queues.
 */
export const BATCH_PATIENCE_MS = 3_000;

/** A submission is refused if it could not be sent for this long because earlier ones hang. Clients give up soon. */
export const SUBMIT_WAIT_MAX_MS = 5_000;

/** A request waits this long for memory that other requests hold: short bursts pass, and clients still wait. */
export const MEMORY_WAIT_MAX_MS = 1_000;

/**
 * A client has to receive its response within this time, or its connection is cut, because a response that is not read
 * fills the memory.
 */
export const API_ANSWER_TAKEN_MS = 60_000;

/**
 * A client that was refused in the middle of its body may go on sending for this long. Cut off at once, it could lose
 * the response.
 */
export const REFUSED_BODY_LINGER_MS = 1_000;

/** A queue can be deleted by hand if all tasks can be checked in this time. Otherwise it has to expire. */
export const QUEUE_SURVEY_MS = 10_000;

/** A task is committed at most this long after its id was made. Batches wait for parts, statements are repeated. */
export const QUEUE_SUBMISSION_LAG_MS = 600_000;

/** A worker logs the counts of its outcomes this often, unless it logs each of them. */
export const OUTCOME_COUNTS_INTERVAL_MS = 60_000;

/** The search for the rows of one page of a list stops after this and returns what it has, because a person waits. */
export const LIST_SEARCH_MS = 1_000;

/** A requeue by filter stops after this and returns where to go on. Clients and proxies give up after 30 s. */
export const BULK_REQUEUE_MS = 5_000;

/** The check of pods in one pass ends after this, because the sweeper's lease must outlast it. */
export const POD_CHECK_TIMEOUT_MS = 1_500;

/** Any other call of the Kubernetes API fails after this. */
export const KUBERNETES_CALL_TIMEOUT_MS = 2_000;

/** The token is read again this often. The kubelet replaces it long before it expires. */
export const KUBERNETES_TOKEN_READ_MS = 60_000;

/** A worker checks its pod's deletion cost this often. Kubernetes advises against frequent changes. */
export const DELETION_COST_INTERVAL_MS = 30_000;

/** `kubernetes.job`: a job is looked at this often. */
export const JOB_POLL_INTERVAL_MS = 2_000;

/** `kubernetes.job`: a container that cannot start because of its image or configuration has this long to recover. */
export const JOB_START_PATIENCE_MS = 60_000;

/** `kubernetes.job`: Kubernetes ends a job this long after the time limit, in case no worker is left. */
export const JOB_DEADLINE_SLACK_MS = 30_000;

/** `kubernetes.job`: Kubernetes keeps a job this long after its end if its worker died before deleting it. */
export const JOB_KEPT_SECONDS = 3_600;

/** The unfinished tasks of a client with a quota are counted at most this often, while it submits. */
export const QUOTA_COUNT_MS = 2_000;
