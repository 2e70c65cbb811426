import type { Priority } from '../../core/priority.ts';
import type { TaskStatus } from '../../core/task.ts';
import type { VisibleQueues } from '../../postgres/reads/sight.ts';

/** What a list of tasks asks for. Everything that is given has to match. */
export interface TaskFilter {
  readonly statuses?: readonly TaskStatus[] | undefined;
  readonly queue?: string | undefined;
  readonly action?: string | undefined;
  readonly priority?: Priority | undefined;
  readonly group?: string | undefined;
  readonly idempotencyKey?: string | undefined;
  /** Members that the metadata of a task has to have. It may have others. */
  readonly metadata?: Readonly<Record<string, string>> | undefined;
  readonly traceId?: string | undefined;
  /** Milliseconds since 1970, inclusive. */
  readonly createdAfterMs?: number | undefined;
  /** Milliseconds since 1970, exclusive. */
  readonly createdBeforeMs?: number | undefined;
}

/** A filter of tasks among those that the client sees. */
export interface SeenFilter extends TaskFilter {
  readonly visible: VisibleQueues;
}

type AskedColumn = 'queue' | 'action' | 'priority' | 'group' | 'idempotency_key' | 'trace_id';

type Condition = readonly [AskedColumn, '=' | '~', string | number];

/** Returns the conditions on columns that a submission alone can answer. */
export function asked(filter: SeenFilter): Condition[] {
  const equal = [
    ['queue', filter.queue],
    ['priority', filter.priority],
    ['action', filter.action],
    ['group', filter.group],
    ['idempotency_key', filter.idempotencyKey],
    ['trace_id', filter.traceId],
  ] as const;
  return [
    ...(filter.visible === null ? [] : [['queue', '~', filter.visible] as const]),
    ...equal.flatMap(([column, value]) => (value === undefined ? [] : [[column, '=', value] as const])),
  ];
}

/** Returns the members that the metadata of a task has to have, as one JSON text; nothing if the filter names none. */
export function askedMetadata({ metadata = {} }: TaskFilter): string[] {
  return Object.keys(metadata).length === 0 ? [] : [JSON.stringify(metadata)];
}
