import type { Keys } from './keys.ts';
import { loadScript } from './scripts.ts';

/** The commands that need a right. `K` stands for a key, `C` for the channel. */
const COMMANDS = [
  'bzpopmin K 1',
  'del K',
  'eval text 1 K',
  'evalsha hash 1 K',
  'exists K',
  'get K',
  'hdel K field',
  'hexists K field',
  'hget K field',
  'hgetall K',
  'hincrby K field 1',
  'hlen K',
  'hmget K field',
  'hscan K 0',
  'hset K field value',
  'hsetnx K field value',
  'pexpire K 1',
  'publish C message',
  'set K value',
  'subscribe C',
  'time',
  'zadd K 0 member',
  'zcard K',
  'zcount K 0 1',
  'zpopmin K',
  'zrange K 0 1',
  'zrangebyscore K 0 1',
  'zrem K member',
  'zscan K 0',
  'zscore K member',
] as const;

/** Needed only in a Cluster, where the client looks for the nodes. */
const CLUSTER_COMMANDS = ['cluster slots'] as const;

/** The names of all commands that the code and the Lua scripts use, in lower case. */
export const USED_COMMANDS: readonly string[] = COMMANDS.map(nameOf);

/** A missing right, and the rule of `ACL SETUSER` that grants it; null if no rule does. */
export interface MissingRight {
  readonly what: string;
  readonly rule: string | null;
}

/** Runs a script with keys and arguments. */
type RunScript = (script: typeof CHECK_RIGHTS, args: readonly string[]) => Promise<unknown>;

export const CHECK_RIGHTS = loadScript(import.meta.dirname, 'check-rights');

/**
 * Asks Redis which of the needed rights its user lacks.
 * @throws the error of Redis if the user may not run scripts at all
 */
export async function missingRights(keys: Keys, cluster: boolean, run: RunScript): Promise<MissingRight[]> {
  const ask = async (commands: readonly string[][]): Promise<number[]> =>
    (await run(
      CHECK_RIGHTS,
      commands.flatMap((words) => [String(words.length), ...words]),
    )) as number[];

  // The user may run EVALSHA, since this script runs. So if the check refuses it, the key is the reason.
  const onKeys = await ask(keys.patterns.map(({ sample }) => ['evalsha', 'hash', '1', sample]));
  const missing: MissingRight[] = keys.patterns
    .filter((_, i) => onKeys[i] !== 1)
    .map(({ rule, sample }) => ({ what: `keys such as ${sample}`, rule }));
  const key = keys.patterns.find((_, i) => onKeys[i] === 1)?.sample;
  // Commands can only be checked with a key that the user may access.
  if (key === undefined) return missing;

  const commands = [...COMMANDS, ...(cluster ? CLUSTER_COMMANDS : [])];
  const onCommands = await ask(
    commands.map((command) =>
      command.split(' ').map((word) => (word === 'K' ? key : word === 'C' ? keys.cancelChannel : word)),
    ),
  );
  commands.forEach((command, i) => {
    if (onCommands[i] !== 1) missing.push(missingCommand(command, onCommands[i] === -1, keys));
  });
  return missing;
}

function missingCommand(command: string, isUnknown: boolean, { cancelChannel, channelRule }: Keys): MissingRight {
  const name = nameOf(command).toUpperCase();
  if (isUnknown) return { what: `${name}, which the server does not know (was it renamed?)`, rule: null };
  if (command.endsWith(' C') || command.includes(' C ')) {
    return { what: `${name} on the channel ${cancelChannel}`, rule: `+${nameOf(command)} ${channelRule}` };
  }
  return { what: name, rule: `+${nameOf(command)}` };
}

/** Returns the name of a command in ACL rules: `cluster|slots` for `cluster slots`, otherwise the first word. */
function nameOf(command: string): string {
  const [first = '', second = ''] = command.split(' ');
  return first === 'cluster' ? `${first}|${second}` : first;
}
