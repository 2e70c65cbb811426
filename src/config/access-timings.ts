/** An API process asks this often whether the clients have changed, so that a revoked one is refused within 5 s, … */
export const CLIENTS_POLL_MS = 2_000;

/** … and more often until it has read them for the first time. */
export const CLIENTS_FIRST_POLL_MS = 250;

/** The clients are read again after this even without a change, so that their times are counted from a fresh answer. */
export const CLIENTS_RELOAD_MS = 300_000;

/** While PostgreSQL is away, the clients that were read last stay valid for this long. */
export const CLIENTS_KEPT_MS = 300_000;

/** A request waits this long for the first reading of the clients. */
export const CLIENTS_FIRST_READ_MS = 3_000;

/** A request with an unknown secret waits at most this long for a look at newer clients, … */
export const CLIENTS_LOOK_AGAIN_WAIT_MS = 1_500;

/** … and all such requests together cost one look in this time. */
export const CLIENTS_LOOK_AGAIN_MS = 500;

/** A look waits this long for the files of the clients. A disk that hangs is read on in the background. */
export const CLIENTS_FILES_WAIT_MS = 500;

/** The last uses of secrets are written this often. */
export const CLIENTS_USES_MS = 60_000;

/** An API process reads a session again after this, so that one that has ended is refused everywhere within 5 s. */
export const SESSION_KEPT_MS = 5_000;

/** An API process writes the requests that it refused into the audit log this often. */
export const REFUSALS_WRITE_INTERVAL_MS = 5_000;

/** The OpenID Connect provider has this long for each answer. A person or a request waits meanwhile. */
export const PROVIDER_TIMEOUT_MS = 5_000;

/** After a failure, the provider is asked again after this at the earliest, however many requests need it. */
export const PROVIDER_PAUSE_MS = 1_000;

/** What the provider says of itself is read again after this. */
export const PROVIDER_METADATA_KEPT_MS = 3_600_000;

/** The keys of the provider are read again after this, so that one that it has withdrawn is refused, … */
export const PROVIDER_KEYS_KEPT_MS = 600_000;

/** … and earlier if a token names an unknown key, but at most once in this time. */
export const PROVIDER_KEYS_PAUSE_MS = 5_000;

/** Times in tokens may differ from this clock by this much. */
export const PROVIDER_CLOCK_TOLERANCE_MS = 30_000;

/** A person has this long to log in at the provider. */
export const LOGIN_MS = 600_000;
