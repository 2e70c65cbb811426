import { idMilliseconds } from './ids.ts';

export const PRIORITIES = { High: 1, Medium: 2, Low: 3 } as const;
export type PriorityName = keyof typeof PRIORITIES;
export type Priority = (typeof PRIORITIES)[PriorityName];

export const PRIORITY_NAMES = ['High', 'Medium', 'Low'] as const satisfies readonly PriorityName[];

/** 2^42 ms reach to the year 2109, and the scores of the lowest priority stay far below 2^53. */
const BAND_WIDTH = 2 ** 42;

export function priorityName(priority: Priority): PriorityName {
  return PRIORITY_NAMES[priority - 1] as PriorityName;
}

/** The three values of a task's row that decide its position. Nothing else does. */
export interface Position {
  readonly id: string;
  readonly priority: Priority;
  /** Milliseconds since 1970. The time in the id, unless a requeue moved the task. */
  readonly placeMs: number;
}

/**
 * Returns the ZSET score of a position: an exact integer below 2^53. The smallest score runs first.
 * `claim.lua` computes the same score from a member when it promotes the member.
 */
export function scoreOf(position: Position): number {
  return position.priority * BAND_WIDTH + position.placeMs;
}

/**
 * Returns the ZSET member of a position: `<priority>:<id>`, followed by `:<place>`
 * only if a requeue moved the place. Redis sorts members with equal scores by this
 * text, which means by id. The member depends only on the row, so that it can be
 * computed again at any time.
 */
export function memberOf(position: Position): string {
  const moved = position.placeMs !== idMilliseconds(position.id);
  const plain = `${position.priority}:${position.id}`;
  return moved ? `${plain}:${position.placeMs}` : plain;
}

const MEMBER = /^([123]):([0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12})(?::(\d{1,13}))?$/;

/** Returns the id in a member that `memberOf` wrote; null for any other text. Cheaper than `positionOf`. */
export function idOfMember(member: string): string | null {
  return MEMBER.test(member) ? member.slice(2, 38) : null;
}

/** Reads a member that `memberOf` wrote. Returns null for any other text. */
export function positionOf(member: string): Position | null {
  const match = MEMBER.exec(member);
  if (match === null) return null;
  const id = match[2] as string;
  return {
    id,
    priority: Number(match[1]) as Priority,
    placeMs: match[3] === undefined ? idMilliseconds(id) : Number(match[3]),
  };
}
