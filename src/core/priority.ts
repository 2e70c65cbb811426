import { idMilliseconds } from './ids.ts';

export const PRIORITIES = { High: 1, Medium: 2, Low: 3 } as const;
export type PriorityName = keyof typeof PRIORITIES;
export type Priority = (typeof PRIORITIES)[PriorityName];

export const PRIORITY_NAMES = ['High', 'Medium', 'Low'] as const satisfies readonly PriorityName[];

/** 2^42 ms reach to the year 2109, and the lowest band ends far below 2^53. */
const BAND_WIDTH = 2 ** 42;

export function priorityName(priority: Priority): PriorityName {
  return PRIORITY_NAMES[priority - 1] as PriorityName;
}

/** What decides a task's position: its row's priority, place and id, and nothing else. */
export interface Position {
  readonly id: string;
  readonly priority: Priority;
  /** Milliseconds since 1970; the id's own unless a requeue moved the task. */
  readonly placeMs: number;
}

/**
 * The ZSET score of a position: smaller runs first, an exact integer below 2^53.
 * `claim.lua` computes the same from a member when it promotes one.
 */
export function scoreOf(position: Position): number {
  return position.priority * BAND_WIDTH + position.placeMs;
}

/**
 * The ZSET member of a position: `<priority>:<id>`, with `:<place>` behind it
 * only where a requeue moved the place. Members of equal score sort by this
 * text, and so by id. A pure function of the row, so that it can be recomputed
 * at any time.
 */
export function memberOf(position: Position): string {
  const moved = position.placeMs !== idMilliseconds(position.id);
  const plain = `${position.priority}:${position.id}`;
  return moved ? `${plain}:${position.placeMs}` : plain;
}

/** The inverse of `memberOf`; null for a text that `memberOf` does not produce. */
export function positionOf(member: string): Position | null {
  const match = /^([123]):([0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12})(?::(\d{1,13}))?$/.exec(
    member,
  );
  if (match === null) return null;
  const id = match[2] as string;
  return {
    id,
    priority: Number(match[1]) as Priority,
    placeMs: match[3] === undefined ? idMilliseconds(id) : Number(match[3]),
  };
}
