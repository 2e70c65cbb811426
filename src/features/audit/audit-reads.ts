import type { AuditAction, AuditOutcome } from '../../core/access/audit.ts';
import { lookedSlice } from '../../postgres/reads/looked-slice.ts';
import type { Reader } from '../../postgres/reads/reader.ts';
import { type Found, SEARCH_LIMITS, type Slice, search, sliceOf } from '../../postgres/reads/search.ts';

/** A row of `audit`. The time is in PostgreSQL's text format, and `details` is JSON text. */
export interface AuditLogRow {
  readonly id: string;
  readonly at: string;
  readonly client: string;
  readonly action: AuditAction;
  readonly outcome: AuditOutcome;
  readonly code: string | null;
  readonly objects: readonly string[];
  readonly details: string | null;
  readonly count: number;
  readonly address: string;
  readonly trace_id: string | null;
}

/** Selects rows; null means any. Times are in ISO 8601. */
export interface AuditFilter {
  readonly client: string | null;
  readonly action: AuditAction | null;
  readonly outcome: AuditOutcome | null;
  readonly object: string | null;
  readonly after: string | null;
  readonly before: string | null;
}

/** The position at which a page ended. */
export interface AuditPosition {
  /** In PostgreSQL's text format, to the microsecond. */
  readonly at: string;
  readonly id: string;
}

/** Reads the audit log. Throws `StoreUnavailableError` when PostgreSQL does not answer. */
export interface AuditReads {
  /** Lists rows, newest first. */
  list(filter: AuditFilter, from: AuditPosition | null, limit: number): Promise<Found<AuditLogRow, AuditPosition>>;
}

const COLUMNS = [
  'id',
  'at',
  'client',
  'action',
  'outcome',
  'code',
  'objects',
  'details',
  'count',
  'address',
  'trace_id',
] as const;

const NEWEST_FIRST = [
  ['at', 'desc'],
  ['id', 'desc'],
] as const;

export function createAuditReads(reader: Reader, limits = SEARCH_LIMITS): AuditReads {
  const { sliceRows } = limits;

  const readSlice = async (
    { client, action, outcome, object, after, before }: AuditFilter,
    from: AuditPosition | null,
    most: number,
    mostBytes: number,
  ): Promise<Slice<AuditLogRow, AuditPosition>> => {
    const rows = await reader.read('list-audit', (db) => {
      let next = db.selectFrom('audit').select(COLUMNS).orderBy('at', 'desc').orderBy('id', 'desc').limit(sliceRows);
      if (after !== null) next = next.where('at', '>=', after);
      if (before !== null) next = next.where('at', '<', before);
      if (from !== null) next = next.where((eb) => eb(eb.refTuple('at', 'id'), '<', eb.tuple(from.at, from.id)));
      const looked = db
        .selectFrom(next.as('next'))
        .select(COLUMNS)
        .select((eb) =>
          eb
            .and([
              ...(client === null ? [] : [eb('client', '=', client)]),
              ...(action === null ? [] : [eb('action', '=', action)]),
              ...(outcome === null ? [] : [eb('outcome', '=', outcome)]),
              ...(object === null ? [] : [eb(eb.val(object), '=', eb.fn.any('objects'))]),
            ])
            .as('fits'),
        );
      return lookedSlice<AuditLogRow>(db, {
        looked,
        columns: COLUMNS,
        longColumns: ['objects', 'details'],
        order: NEWEST_FIRST,
        sliceRows,
        most,
        mostBytes,
      }).execute();
    });
    return sliceOf(rows, sliceRows, positionOf);
  };

  return {
    list: (filter, from, limit) =>
      search(limits, from, limit, positionOf, (position, most, mostBytes) =>
        readSlice(filter, position, most, mostBytes),
      ),
  };
}

function positionOf({ at, id }: AuditLogRow): AuditPosition {
  return { at, id };
}
