import { z } from 'zod';
import { AUDIT_ACTIONS, AUDIT_OUTCOMES } from '../../core/access/audit.ts';
import type { Projection, ProjectionOf } from '../../core/access/projection.ts';
import { givenTime } from '../../given/given-time.ts';
import { givenText } from '../../given/given-values.ts';
import type { Cursors } from '../../http/paging/cursors.ts';
import { SEARCHED_PAGES, pageQuery, pageSchema } from '../../http/paging/paging.ts';
import { defineRoute, type Route } from '../../http/route.ts';
import { redactionMark, time } from '../../http/task-parts.ts';
import { isoTime } from '../../postgres/reads/iso-time.ts';
import { PAGE_BYTES_MAX } from '../../postgres/reads/search.ts';
import type { AuditLogRow, AuditReads } from './audit-reads.ts';

export interface AuditRoutesOptions {
  readonly reads: AuditReads;
  readonly cursors: Cursors;
  readonly projectionOf: ProjectionOf;
}

const auditSchema = z
  .object({
    id: z.string(),
    at: time().meta({ description: 'when it was done, or refused for the first time' }),
    client: z.string().nullable().meta({
      description:
        'name of the client; `cli:<user>` for a command; null for anybody, while nobody has to say who they are, and for a refused login',
    }),
    action: z.string().meta({ description: `one of ${AUDIT_ACTIONS.join(', ')}` }),
    outcome: z.enum(AUDIT_OUTCOMES),
    code: z.string().nullable().meta({ description: 'why it was refused: the code of the problem' }),
    objects: z.array(z.string()).meta({
      description:
        'what was acted on: `task:<id>`, `queue:<name>`, `client:<name>`, `session:<id>`; of refusals, that of the first',
    }),
    details: z.unknown().meta({
      description:
        'what was changed to what, or what selected the things that were changed; filters by contents are `[redacted]` ' +
        'without the scope `payload`',
    }),
    redacted_fields: redactionMark.redacted_fields,
    count: z.int().meta({
      description: 'number of things that were changed, or of equal refusals within one minute',
    }),
    address: z.string().meta({ description: 'the address of the request, or the host of the command' }),
    trace_id: z.string().nullable().meta({ description: 'the trace of the request; null for a command' }),
  })
  .meta({ id: 'AuditRow', description: 'An action that was done, or equal refusals within one minute' });

const listQuery = z.strictObject({
  client: givenText().optional(),
  action: z.enum(AUDIT_ACTIONS).optional(),
  outcome: z.enum(AUDIT_OUTCOMES).optional(),
  object: givenText().optional().meta({ description: 'as in `objects`', example: 'queue:default' }),
  after: givenTime().optional().meta({ description: 'inclusive' }),
  before: givenTime().optional().meta({ description: 'exclusive' }),
  ...pageQuery(),
});

/** Time and id of a page's last row. The time is PostgreSQL's text, because its microseconds matter. */
const auditPosition = z.tuple([
  z.string().regex(/^\d{4,6}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?[+-]\d\d(:\d\d){0,2}$/),
  z.uuid(),
]);

/** Makes the route that lists what was done and what was refused. */
export function auditRoutes({ reads, cursors, projectionOf }: AuditRoutesOptions): Route[] {
  return [
    defineRoute({
      method: 'get',
      path: '/audit',
      summary: 'List what was done and what was refused, newest first',
      scope: 'admin',
      readsBytes: PAGE_BYTES_MAX,
      description:
        'An action that changed something has one row, written in its own transaction. Submissions, the work of workers ' +
        `and reads have none. Equal refusals within one minute are one row with their number. ${SEARCHED_PAGES}`,
      query: listQuery,
      responses: { 200: { description: 'A page of the audit log', schema: pageSchema(auditSchema) } },
      problems: ['invalid_cursor'],
      async handler({ query, client: reader }) {
        const { cursor, limit, client = null, action = null, outcome = null, object = null } = query;
        const { after = null, before = null } = query;
        const filter = { client, action, outcome, object, after, before };
        const scope = { route: 'GET /audit', filter, at: 'query:cursor' };
        const position = await cursors.open(scope, auditPosition, cursor);
        const from = position === undefined ? null : { at: position[0], id: position[1] };
        const { rows, next } = await reads.list(filter, from, limit);
        const nextCursor = await cursors.seal(scope, next && [next.at, next.id]);
        const seen = projectionOf(reader);
        return { body: { items: rows.map((row) => auditView(row, seen)), next_cursor: nextCursor } };
      },
    }),
  ];
}

function auditView(
  { at, client, details: stored, ...row }: AuditLogRow,
  seen: Projection,
): z.input<typeof auditSchema> {
  const { details, mark } = seen.auditDetails(stored === null ? null : (JSON.parse(stored) as unknown));
  const { id, action, outcome, code, objects, count, address, trace_id } = row;
  return {
    id,
    at: isoTime(at),
    client: client === '' ? null : client,
    action,
    outcome,
    code,
    objects: [...objects],
    details,
    ...mark,
    count,
    address,
    trace_id,
  };
}
