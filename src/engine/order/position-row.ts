import type { Position, Priority } from '../../core/priority.ts';

/** The columns of a task that say where in the order of its queue it stands. */
export interface PositionRow {
  readonly id: string;
  readonly priority: Priority;
  readonly place_ms: number;
}

export function positionOfRow({ id, priority, place_ms }: PositionRow): Position {
  return { id, priority, placeMs: place_ms };
}
