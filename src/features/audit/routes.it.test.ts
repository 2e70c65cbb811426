import { beforeAll, describe, expect, it } from 'vitest';
import { createApiFixture, type ApiFixture, type Reply } from '../../../test/api-fixture.ts';
import { anActor } from '../../../test/harness/task-stores.ts';
import type { AuditAction } from '../../core/access/audit.ts';
import { writeAudit } from '../../postgres/audit/write-audit.ts';

let api: ApiFixture;
beforeAll(async () => {
  api = await createApiFixture();
});

const sql = (one: ApiFixture, text: string, values: unknown[] = []) =>
  one.tasks.database.run({ name: '', text }, values);

/** Adds a row, and returns its id. */
async function add(one: ApiFixture, client: string, action: AuditAction, objects: string[]): Promise<string> {
  const by = anActor(client);
  await writeAudit(one.tasks.database.run, by, { action, objects });
  return by.auditId;
}

const idsIn = ({ body }: Reply): string[] => (body.items as { id: string }[]).map(({ id }) => id);

async function pagesOf(one: ApiFixture, query: string): Promise<string[][]> {
  const pages: string[][] = [];
  for (let cursor: string | null | undefined = ''; typeof cursor === 'string';) {
    const reply: Reply = await one.get(`/audit?${query}${cursor === '' ? '' : `&cursor=${cursor}`}`);
    expect(reply.status).toBe(200);
    pages.push(idsIn(reply));
    cursor = reply.body.next_cursor;
  }
  return pages;
}

describe('GET /audit', () => {
  it('shows what was done, newest first', async () => {
    const id = await api.tasks.submit({ queue: 'shown' });
    const { headers } = await api.post(`/tasks/${id}/cancel`);
    await api.post('/queues/shown/pause');
    const { status, body } = await api.get('/audit?object=queue:shown');
    expect(status).toBe(200);
    expect(body).toEqual({
      items: [
        expect.objectContaining({ action: 'queue.pause', objects: ['queue:shown'] }),
        {
          id: expect.any(String),
          at: expect.stringMatching(/Z$/),
          client: null,
          action: 'task.cancel',
          outcome: 'allowed',
          code: null,
          objects: [`task:${id}`, 'queue:shown'],
          details: null,
          count: 1,
          address: '127.0.0.1',
          trace_id: headers.get('x-trace-id'),
        },
      ],
      next_cursor: null,
    });
  });

  it('filters by client, action, outcome, object and time', async () => {
    const paused = await add(api, 'ops', 'queue.pause', ['queue:mail']);
    const created = await add(api, 'ops', 'client.create', ['client:mail']);
    const other = await add(api, 'others', 'queue.pause', ['queue:mail']);
    await sql(api, `UPDATE audit SET at = at - interval '1 day' WHERE id = $1`, [paused]);
    await sql(api, `UPDATE audit SET outcome = 'refused', code = 'missing_scope' WHERE id = $1`, [other]);
    const found = async (query: string) => idsIn(await api.get(`/audit?${query}`));
    expect(await found('client=ops')).toEqual([created, paused]);
    expect(await found('client=ops&action=queue.pause')).toEqual([paused]);
    expect(await found('object=queue:mail')).toEqual([other, paused]);
    expect(await found('object=client:mail')).toEqual([created]);
    expect(await found('object=mail')).toEqual([]);
    expect(await found('outcome=refused')).toEqual([other]);
    const hourAgo = encodeURIComponent(new Date(api.databaseNowMs() - 3_600_000).toISOString());
    expect(await found(`client=ops&after=${hourAgo}`)).toEqual([created]);
    expect(await found(`client=ops&before=${hourAgo}`)).toEqual([paused]);
  });

  it('pages without gaps or repeats, even among equal times', async () => {
    const ids: string[] = [];
    for (let i = 0; i < 7; i++) ids.push(await add(api, 'pages', 'queue.pause', []));
    await sql(
      api,
      `UPDATE audit SET at = date_trunc('day', at) + get_byte(uuid_send(id), 0) % 3 * interval '1 microsecond' WHERE client = 'pages'`,
    );
    const pages = await pagesOf(api, 'client=pages&limit=2');
    expect(pages.map(({ length }) => length)).toEqual([2, 2, 2, 1]);
    expect(pages.flat().toSorted()).toEqual(ids.toSorted());
    expect(pages.flat()).toEqual(idsIn(await api.get('/audit?client=pages')));
  });

  it('takes a cursor only for the same filter', async () => {
    for (let i = 0; i < 2; i++) await add(api, 'cursors', 'queue.pause', []);
    const { next_cursor } = (await api.get('/audit?client=cursors&limit=1')).body;
    expect(await api.get(`/audit?client=another&limit=1&cursor=${String(next_cursor)}`)).toMatchObject({
      status: 409,
      body: { code: 'invalid_cursor' },
    });
  });

  it.each(['action=queue.stop', 'outcome=maybe', 'after=yesterday', 'client=%00', 'limit=0', 'code=x', 'cursor=abc'])(
    'refuses %s',
    async (query) => {
      expect(await api.get(`/audit?${query}`)).toMatchObject({ status: 422, body: { code: 'invalid_request' } });
    },
  );

  it('continues the search at the cursor when its time is over', async () => {
    const hurried = await createApiFixture({ search: { sliceRows: 2, searchMs: 0 } });
    const ids: string[] = [];
    for (const client of ['a', 'b', 'b', 'b', 'b', 'a', 'b']) ids.push(await add(hurried, client, 'queue.pause', []));
    const pages = await pagesOf(hurried, 'client=a');
    expect(pages.length).toBeGreaterThan(2);
    expect(pages.flat()).toEqual([ids[5], ids[0]]);
  });
});
