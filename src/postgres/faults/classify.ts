import pg from 'pg';
import { SchedulerError } from '../../core/errors.ts';

/** Kinds of errors of PostgreSQL, of the connection and of our pool, by what the caller can do about them. */
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

/** The message of `pg`'s pool when all connections are lent and none came back in time. The server has seen nothing. */
const POOL_EXHAUSTED = 'timeout exceeded when trying to connect';

/** Classifies an error by its SQLSTATE (PostgreSQL manual, appendix A), its code or its message. */
export function classify(error: unknown): ErrorKind {
  if (error instanceof SchedulerError) return 'other';
  const { code } = error as { code?: unknown };
  if (code === '40001' || code === '40P01') return 'conflict';
  // Only errors from the server have a SQLSTATE; the code EPIPE of a socket merely looks like one.
  if (error instanceof pg.DatabaseError && typeof code === 'string') {
    // Invalid values, violated constraints, limits of the server, and errors raised by foreign triggers or functions.
    if (/^(22|23|44|54|P0)/.test(code)) return 'refused';
    // In the next three cases the server answers that a time limit is over. First: the statement's (or it was cancelled).
    if (code === '57014') return 'timed_out';
    // Second: the wait for a lock.
    if (code === '55P03') return 'locked';
    // Third: an idle transaction or session. Either this process stood still, or an operator's limit is short.
    if (/^25P0[34]$|^57P05$/.test(code)) return 'idled';
    // When the disk is full, a new connection cannot write its cache file; PostgreSQL has no specific code for that.
    if (code === 'XX000' && error.severity === 'FATAL') return 'unavailable';
    // Connection exceptions, exhausted resources (disk, connections), shutdown, read-only standby,
    // and a password that is outdated until its file is replaced.
    return /^(08|53|57|58)|^25006$|^28P01$/.test(code) ? 'unavailable' : 'other';
  }
  if (!Error.isError(error) || error instanceof TypeError || error instanceof RangeError) return 'other';
  if (error.message === POOL_EXHAUSTED) return 'pool_exhausted';
  // The socket, the resolver and TLS set codes. Errors of `pg` and its pool about a lost connection have only a message.
  return typeof code === 'string' || LOST_CONNECTION.test(error.message) ? 'unavailable' : 'other';
}

/** Returns whether the server refused a row because another row has its key. */
export function keyExists(error: unknown): boolean {
  return error instanceof pg.DatabaseError && error.code === '23505';
}

/** Returns whether the client gave up waiting for a statement that the server should have ended earlier. */
export function isUnanswered(error: unknown): boolean {
  return Error.isError(error) && error.message.startsWith('Query read timeout');
}
