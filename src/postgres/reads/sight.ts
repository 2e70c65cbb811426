import type { Client } from '../../core/access/client.ts';
import { type NamePatterns, SYSTEM_QUEUE_PREFIX } from '../../core/access/name-patterns.ts';
import { seesContents } from '../../core/access/projection.ts';

/**
 * The queues that a statement may show or change, as a regular expression of PostgreSQL: `queue ~ $1`. Null means all
 * queues; a statement then leaves out the condition, or checks only that its argument is null.
 */
export type VisibleQueues = string | null;

/** What a read may return to a client. */
export interface Sight {
  readonly queues: VisibleQueues;
  /** Whether payloads, results and progress are read. What is not read cannot be shown, nor end a page by its length. */
  readonly contents: boolean;
}

export const FULL_SIGHT: Sight = { queues: null, contents: true };

export function sightOf(client: Pick<Client, 'queues' | 'scopes'>): Sight {
  return { queues: visibleQueues(client.queues), contents: seesContents(client) };
}

/** Names of queues are never empty. */
const NO_QUEUE = '^$';

/**
 * Returns the only form in which the patterns of a client reach SQL. Patterns consist of letters, digits, `_`, `-` and
 * dots, so the dots are all that has to be escaped.
 */
export function visibleQueues({ all, everything, names, prefixes }: NamePatterns): VisibleQueues {
  if (everything) return null;
  const escaped = (text: string): string => text.replaceAll('.', String.raw`\.`);
  const alternatives = [
    ...(all ? [`(?!${escaped(SYSTEM_QUEUE_PREFIX)})`] : []),
    ...prefixes.map(escaped),
    ...names.map((name) => `${escaped(name)}$`),
  ];
  return alternatives.length === 0 ? NO_QUEUE : `^(?:${alternatives.join('|')})`;
}
