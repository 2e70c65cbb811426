/**
 * Errors that mean that Redis refuses this process or its command: login, rights, protected mode, no such database, a
 * renamed command. An operator has to fix the cause. The errors that scripts cause have no error code.
 */
const LASTING =
  /^(NOPERM|NOAUTH|WRONGPASS|DENIED)\b|DB index is out of range|The user executing the script|unknown (redis )?command/i;

const FULL = /max number of clients/;

export function isLastingRefusal(message: string): boolean {
  return LASTING.test(message);
}

/** Returns true also for a refusal that is temporary because the server has too many clients. */
export function isRefusal(message: string): boolean {
  return LASTING.test(message) || FULL.test(message);
}
