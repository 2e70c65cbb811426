/**
 * Errors by which Redis says that this process is not let in, or may not do what it asks: login, rights, protected mode,
 * no such database, a command that was renamed. Somebody has to mend them. Those of scripts have no code.
 */
const LASTING =
  /^(NOPERM|NOAUTH|WRONGPASS|DENIED)\b|DB index is out of range|The user executing the script|unknown (redis )?command/i;

const FULL = /max number of clients/;

export function isLastingRefusal(message: string): boolean {
  return LASTING.test(message);
}

/** Also where there is only no room at the moment. */
export function isRefusal(message: string): boolean {
  return LASTING.test(message) || FULL.test(message);
}
