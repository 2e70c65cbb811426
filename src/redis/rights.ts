import type { Keys } from './keys.ts';
import { loadScript } from './scripts.ts';

/** What a command needs a right for. A `K` stands for a key, a `C` for the channel. */
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

/** Only in a Cluster, where the client looks for the nodes. */
const CLUSTER_COMMANDS = ['cluster slots'] as const;

/** The commands that everything here and in `scripts/` uses, in lower case. */
export const USED_COMMANDS: readonly string[] = COMMANDS.map(nameOf);

/** Something that the user may not do, and the rule of `ACL SETUSER` that allows it; null where no rule does. */
export interface MissingRight {
  readonly what: string;
  readonly rule: string | null;
}

/** Runs a script with keys and arguments. */
type RunScript = (script: typeof CHECK_RIGHTS, args: readonly string[]) => Promise<unknown>;

export const CHECK_RIGHTS = loadScript(import.meta.dirname, 'check-rights');

/**
 * Asks Redis what of all that is needed its user may not do.
 * @throws what Redis says where it runs no script for this user at all
 */
export async function missingRights(keys: Keys, cluster: boolean, run: RunScript): Promise<MissingRight[]> {
  const ask = async (commands: readonly string[][]): Promise<number[]> =>
    (await run(
      CHECK_RIGHTS,
      commands.flatMap((words) => [String(words.length), ...words]),
    )) as number[];

  // It runs EVALSHA already: where this one is refused, it is for the key.
  const onKeys = await ask(keys.patterns.map(({ sample }) => ['evalsha', 'hash', '1', sample]));
  const missing: MissingRight[] = keys.patterns
    .filter((_, i) => onKeys[i] !== 1)
    .map(({ rule, sample }) => ({ what: `keys such as ${sample}`, rule }));
  const key = keys.patterns.find((_, i) => onKeys[i] === 1)?.sample;
  // Without any key nothing can be said of the commands.
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

/** `cluster slots` is named so, all others by their first word. In ACL rules it is `cluster|slots`. */
function nameOf(command: string): string {
  const [first = '', second = ''] = command.split(' ');
  return first === 'cluster' ? `${first}|${second}` : first;
}
