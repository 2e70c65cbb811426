import pg from 'pg';
import { SchedulerError } from '../../core/errors.ts';

/** What the caller can do about an error of PostgreSQL, of its connection, or of our own pool. */
export type ErrorKind =
  | 'conflict'
  | 'refused'
  | 'timed_out'
  | 'locked'
  | 'idled'
  | 'pool_exhausted'
  | 'unavailable'
  | 'other';

const LOST_CONNECTION =
  /^(Connection terminated|Query read timeout|Client (has encountered a connection error|was closed)|Cannot use a pool after|The server does not support SSL|There was an error establishing an SSL)/;

/** What `pg`'s pool says when all of its connections are lent and none came back in time; nothing has been asked of the server. */
const POOL_EXHAUSTED = 'timeout exceeded when trying to connect';

/** SQLSTATE classes and codes (PostgreSQL manual, appendix A). */
export function classify(error: unknown): ErrorKind {
  if (error instanceof SchedulerError) return 'other';
  const { code } = error as { code?: unknown };
  if (code === '40001' || code === '40P01') return 'conflict';
  // Only what the server sent has a SQLSTATE; a socket's EPIPE looks like one.
  if (error instanceof pg.DatabaseError && typeof code === 'string') {
    // Values, constraints and limits of the server; and what a trigger or a function of somebody else raises.
    if (/^(22|23|44|54|P0)/.test(code)) return 'refused';
    // The server answers, and says that the time for something is over: a statement (or somebody cancelled it), …
    if (code === '57014') return 'timed_out';
    // … the wait for a lock, …
    if (code === '55P03') return 'locked';
    // … a transaction, or a session, in which nothing was asked for too long: this process stood still, or an operator's limit is short.
    if (/^25P0[34]$|^57P05$/.test(code)) return 'idled';
    // A full disk keeps a new connection from writing its cache, and that has no code of its own.
    if (code === 'XX000' && error.severity === 'FATAL') return 'unavailable';
    // Connection exceptions, resources (disk, connections), shutdown, read-only standby,
    // and a password that is out of date until its file is replaced.
    return /^(08|53|57|58)|^25006$|^28P01$/.test(code) ? 'unavailable' : 'other';
  }
  if (!Error.isError(error) || error instanceof TypeError || error instanceof RangeError) return 'other';
  if (error.message === POOL_EXHAUSTED) return 'pool_exhausted';
  // Codes of the socket, the resolver and TLS; what `pg` and its pool say of a lost connection has only a message.
  return typeof code === 'string' || LOST_CONNECTION.test(error.message) ? 'unavailable' : 'other';
}

/** Whether the client gave up waiting for the answer of a statement, which the server should have ended before. */
export function isUnanswered(error: unknown): boolean {
  return Error.isError(error) && error.message.startsWith('Query read timeout');
}
