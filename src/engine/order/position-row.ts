import type { Position, Priority } from '../../core/priority.ts';

/** The columns that define a task's place in the order of its queue. */
export interface PositionRow {
  readonly id: string;
  readonly priority: Priority;
  readonly place_ms: number;
}

export function positionOfRow({ id, priority, place_ms }: PositionRow): Position {
  return { id, priority, placeMs: place_ms };
}
